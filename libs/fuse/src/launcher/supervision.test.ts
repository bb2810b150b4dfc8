import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KEPT_VARIABLE, type KeptNumbers, layOut, parseKept } from './kept.ts';
import { RestartDelay } from './restart-delay.ts';
import { formatSession, isMounted, readSession } from './session.ts';

/** Runs a service under a keeper without a device, until the keeper ends. Each life of the service writes what it wants to the file in `$OUT`. */
async function run(t: TestContext, service: string, kept?: KeptNumbers) {
  const directory = mkdtempSync(join(tmpdir(), 'soci-supervision-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const [main, start, out] = [join(directory, 'service.mjs'), join(directory, 'start.ts'), join(directory, 'out')];
  writeFileSync(out, '');
  writeFileSync(main, `import fs from 'node:fs'; const lives = fs.readFileSync(process.env.OUT, 'utf8').length; ${service}`);
  const keep = fileURLToPath(new URL('./keep.ts', import.meta.url));
  const options = { main, args: [], title: 'soci-supervision', device: '/no/such/device' };
  writeFileSync(start, `import { keep } from ${JSON.stringify(keep)}; await keep(${JSON.stringify(options)});`);
  const book = openSync(out, 'r+');
  t.after(() => closeSync(book));
  const environment = { ...process.env, OUT: out, ...(kept && { [KEPT_VARIABLE]: JSON.stringify(kept) }) };
  const keeper = spawn(process.execPath, [start], { stdio: ['ignore', 'ignore', 'pipe', book], env: environment });
  t.after(() => keeper.kill('SIGTERM'));
  let log = '';
  keeper.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const end = await new Promise((resolve) => keeper.once('close', (code, signal) => resolve(signal ?? code)));
  return { end, log, out: readFileSync(out, 'utf8') };
}

const LIVE = `fs.appendFileSync(process.env.OUT, 'x');`;
const READY = `process.send({ kind: 'ready' });`;

describe('the supervision of a service', () => {
  it('takes a status of a service that never served for its answer', async (t) => {
    const { end, out } = await run(t, `${LIVE} process.exitCode = 3;`);
    assert.deepEqual([end, out], [3, 'x']);
  });

  it('starts again what was killed, and what failed after it had served', async (t) => {
    const { end, out, log } = await run(
      t,
      `${LIVE} if (lives === 0) process.kill(process.pid, 'SIGKILL');
       if (lives === 1) { ${READY} setTimeout(() => process.exit(9), 50); }
       if (lives === 2) process.exit(9);
       if (lives === 3) process.exit(0);`,
    );
    assert.deepEqual([end, out], [0, 'xxxx']);
    const delays = log
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { delayMs: number }).delayMs);
    assert.deepEqual(delays, [0, 0, 0]);
  });

  it('holds memory for the next one, and refuses what is none', async (t) => {
    const { end, out } = await run(
      t,
      `if (lives === 0) {
         const fd = fs.openSync(process.env.OUT, 'a+');
         process.on('message', ({ kind, name, error }) => {
           if (kind !== 'held') return;
           fs.appendFileSync(fd, name + ':' + (error ?? 'held') + ';');
           if (name === 'book') process.kill(process.pid, 'SIGKILL');
         });
         for (const nonsense of [1, 'x', {}, { kind: 'hold' }, { kind: 'drop' }]) process.send(nonsense);
         process.send({ kind: 'hold', name: 'null', fd: fs.openSync('/dev/null', 'r+') });
         process.send({ kind: 'hold', name: '../x', fd });
         process.send({ kind: 'hold', name: 'book', fd });
       } else {
         const { memory, restarts } = JSON.parse(process.env.${KEPT_VARIABLE});
         const same = fs.fstatSync(memory.book).ino === fs.statSync(process.env.OUT).ino;
         fs.appendFileSync(process.env.OUT, JSON.stringify({ names: Object.keys(memory), restarts, same }));
         process.exit(0);
       }`,
    );
    assert.equal(end, 0);
    assert.match(
      out,
      /^undefined:.*no descriptor;null:descriptor [0-9]+ is no memory;\.\.\/x:.*no name.*;book:held;\{"names":\["book"\],"restarts":1,"same":true\}$/,
    );
  });
});

describe('a keeper that a service started', () => {
  it('has all of it also when the service ended before it could say a word', async (t) => {
    const kept: KeptNumbers = { keeper: [], restarts: 4, lastEnd: 'SIGKILL', sockets: 0, memory: { book: 3 }, adopted: 1 };
    const { end, out } = await run(
      t,
      `const { memory, restarts } = JSON.parse(process.env.${KEPT_VARIABLE});
       const same = fs.fstatSync(memory.book).ino === fs.statSync(process.env.OUT).ino;
       fs.appendFileSync(process.env.OUT, JSON.stringify({ restarts, same }));`,
      kept,
    );
    assert.deepEqual([end, out], [0, '{"restarts":5,"same":true}']);
  });
});

describe('RestartDelay', () => {
  it('grows for what cannot start, stays small for what serves, and forgets', () => {
    const delay = new RestartDelay();
    assert.deepEqual(
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(() => delay.next(10, false)),
      [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000],
    );
    assert.equal(delay.next(2_000, true), 0);
    assert.equal(delay.next(2_000, true), 100);
    assert.equal(delay.next(10, true), 100);
    assert.equal(delay.next(10, false), 0, 'killed while it started');
    assert.equal(delay.next(10, false), 100);
    assert.equal(delay.next(60_000, true), 0);
  });
});

describe('layOut', () => {
  it('puts sockets first, then the device, then memory', () => {
    const memory = new Map([
      ['a', 40],
      ['b', 41],
    ]);
    assert.deepEqual(layOut([7, 8], 30, memory), { descriptors: [7, 8, 30, 40, 41], deviceAt: 5, memoryAt: { a: 6, b: 7 } });
    assert.deepEqual(layOut([], undefined, memory), { descriptors: [40, 41], deviceAt: undefined, memoryAt: { a: 3, b: 4 } });
  });
});

describe('parseKept', () => {
  it('finds nothing where there is nothing, or nonsense', () => {
    assert.equal(parseKept({}), undefined);
    assert.equal(parseKept({ [KEPT_VARIABLE]: '{' }), undefined);
  });
});

describe('a session', () => {
  const session = { mountPoint: '/var/lib/a b/fuse', device: '0:45', hasResend: true };

  it('is read as it was written; what is none is none', (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'soci-session-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const cases = [
      { page: formatSession(session), want: session },
      { page: formatSession(undefined), want: undefined },
      { page: formatSession(session).subarray(0, 100), want: undefined },
      { page: formatSession(session).fill(0xff, 4, 8), want: undefined },
      { page: formatSession(session).fill(0x7b, 8, 12), want: undefined },
    ];
    for (const [index, { page, want }] of cases.entries()) {
      const path = join(directory, String(index));
      writeFileSync(path, page);
      const fd = openSync(path, 'r');
      assert.deepEqual(readSession(fd), want);
      closeSync(fd);
    }
    assert.throws(() => formatSession({ ...session, mountPoint: 'x'.repeat(5000) }), RangeError);
  });

  it('is alive while the same mount is at its place', () => {
    const line = (device: string): string => `30 20 ${device} / /var/lib/a\\040b/fuse ro - fuse soci rw\n`;
    assert.equal(isMounted(session, line('0:45')), true);
    assert.equal(isMounted(session, line('0:46')), false);
    assert.equal(isMounted(session, ''), false);
  });
});
