import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { describeError } from '@soci/errors';
import { collectLogs } from '@soci/log';
import { basic, fingerprint } from './credential.ts';
import { CredentialHelpers } from './helper.ts';

const signal = new AbortController().signal;
const FOUND = `echo '{"Username":"bob","Secret":"hunter-2"}'`;

async function helpers(
  t: TestContext,
  scripts: Record<string, string>,
  more: { timeoutMs?: number; cacheMs?: number; nowMs?: () => number; env?: Record<string, string> } = {},
) {
  const directory = await mkdtemp(join(tmpdir(), 'soci-helper-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  for (const [name, script] of Object.entries(scripts))
    await writeFile(join(directory, `docker-credential-${name}`), `#!/bin/sh\ncd ${directory}\n${script}\n`, { mode: 0o700 });
  const { log, lines } = collectLogs();
  const env = { PATH: `${directory}:/usr/bin:/bin`, ...more.env };
  return {
    directory,
    lines,
    helpers: new CredentialHelpers({ ...more, env, log }),
  };
}

describe('CredentialHelpers', () => {
  it('passes the key on standard input without a line end, and `get` as the one argument', async (t) => {
    const { helpers: subject, directory } = await helpers(t, { it: `cat >input; echo "$# $*" >arguments; ${FOUND}` });
    await subject.get('it', 'https://index.docker.io/v1/', signal);
    assert.equal(await readFile(join(directory, 'input'), 'utf8'), 'https://index.docker.io/v1/');
    assert.equal(await readFile(join(directory, 'arguments'), 'utf8'), '1 get\n');
  });

  it("gives the service's environment but for what is its own", async (t) => {
    const { helpers: subject, directory } = await helpers(
      t,
      { it: `env >environment; ${FOUND}` },
      {
        env: {
          HOME: '/root',
          AWS_REGION: 'x',
          HTTPS_PROXY: 'p',
          NODE_OPTIONS: '--inspect',
          LD_PRELOAD: '',
          SOCI_X: '1',
          DOCKER_AUTH_CONFIG: '{}',
          DOCKER_CONFIG: '/d',
        },
      },
    );
    await subject.get('it', 'a.example', signal);
    const environment = await readFile(join(directory, 'environment'), 'utf8');
    for (const kept of ['HOME=/root', 'AWS_REGION=x', 'HTTPS_PROXY=p', 'DOCKER_CONFIG=/d'])
      assert.match(environment, new RegExp(`^${kept}$`, 'm'));
    assert.doesNotMatch(environment, /NODE_OPTIONS|LD_PRELOAD|SOCI_X|DOCKER_AUTH_CONFIG/);
  });

  it('kills one that does not answer, and its children, when its time is over', async (t) => {
    const { helpers: subject, directory } = await helpers(
      t,
      { it: 'trap "" TERM; sleep 300 & echo $! >child; echo $$ >pid; wait; sleep 300' },
      { timeoutMs: 300 },
    );
    await assert.rejects(subject.get('it', 'a.example', signal), { code: 'HELPER_TIMEOUT' });
    for (const name of ['child', 'pid']) await gone(Number(await readFile(join(directory, name), 'utf8')));
  });

  it('cuts off one that floods its output', async (t) => {
    const { helpers: subject, directory } = await helpers(t, { it: 'echo $$ >pid; exec yes' });
    await assert.rejects(subject.get('it', 'a.example', signal), { code: 'HELPER_FAILED', message: /more than 65536 bytes/ });
    await gone(Number(await readFile(join(directory, 'pid'), 'utf8')));
  });

  it('does not wait for a daemon that holds the output open', async (t) => {
    const { helpers: subject } = await helpers(t, { it: `(trap '' HUP; exec sleep 20) & ${FOUND}` });
    assert.equal((await subject.get('it', 'a.example', signal))?.kind, 'basic');
  });

  it('runs once for those who ask at the same time; one who gives up leaves it to the others', async (t) => {
    const { helpers: subject, directory } = await helpers(t, { it: `echo run >>runs; until [ -e go ]; do sleep 0.02; done; ${FOUND}` });
    const controller = new AbortController();
    const first = subject.get('it', 'a.example', controller.signal);
    const second = subject.get('it', 'a.example', signal);
    controller.abort(new Error('no longer wanted'));
    await assert.rejects(first, /no longer wanted/);
    await writeFile(join(directory, 'go'), '');
    assert.equal((await second)?.kind, 'basic');
    assert.equal(await readFile(join(directory, 'runs'), 'utf8'), 'run\n');
  });

  it('is killed when nobody waits for it any more', async (t) => {
    const { helpers: subject, directory } = await helpers(t, { it: 'echo $$ >pid; exec sleep 300' });
    const controller = new AbortController();
    const asked = subject.get('it', 'a.example', controller.signal);
    let pid = '';
    while (pid === '') pid = await readFile(join(directory, 'pid'), 'utf8').catch(() => '');
    controller.abort();
    await assert.rejects(asked);
    await gone(Number(pid));
  });

  it('says why it failed, but neither what it printed that could be a secret nor its standard error', async (t) => {
    const { helpers: subject, lines } = await helpers(t, {
      bare: 'echo hunter-2; exit 1',
      json: `${FOUND}; exit 1`,
      told: 'echo "your password: swordfish is wrong"; echo swordfish >&2; exit 3',
      said: 'echo "gpg: decryption failed"; exit 2',
    });
    const messageOf = async (name: string): Promise<string> =>
      describeError(await subject.get(name, 'a.example', signal).catch((error: unknown) => error));
    const messages = [await messageOf('bare'), await messageOf('json'), await messageOf('told'), await messageOf('said')];
    assert.match(messages[3] ?? '', /docker-credential-said for a\.example: exit status 2: gpg: decryption failed/);
    assert.match(messages[2] ?? '', /exit status 3: your password: … is wrong/);
    assert.doesNotMatch([...messages, ...lines].join('\n'), /hunter|swordfish/);
  });

  for (const suffix of ['..', '.', '', 'a/b', '../sh', 'x y', 'a\0b']) {
    it(`runs nothing for the name ${JSON.stringify(suffix)}`, async (t) => {
      const { helpers: subject } = await helpers(t, {});
      await assert.rejects(subject.get(suffix, 'a.example', signal), { code: 'CONFIG_INVALID' });
    });
  }

  it('says so when there is no such program', async (t) => {
    const { helpers: subject } = await helpers(t, {});
    await assert.rejects(subject.get('absent', 'a.example', signal), {
      code: 'HELPER_MISSING',
      message: /docker-credential-absent.*executable file not found/,
    });
  });

  it('asks another helper, and for another registry, while one never answers', async (t) => {
    const { helpers: subject } = await helpers(t, { hangs: 'exec sleep 300', it: FOUND });
    const controller = new AbortController();
    const hanging = Array.from({ length: 8 }, (_, i) => subject.get('hangs', `host-${i}.example`, controller.signal));
    assert.equal((await subject.get('it', 'a.example', signal))?.kind, 'basic');
    controller.abort(new Error('no longer wanted'));
    for (const { status } of await Promise.allSettled(hanging)) assert.equal(status, 'rejected');
  });

  it('asks at every look-up where nothing is kept, and is told of refusals in vain', async (t) => {
    const { helpers: subject, directory } = await helpers(t, { it: `echo run >>runs; ${FOUND}` });
    for (let i = 0; i < 2; i++) await subject.get('it', 'a.example', signal);
    assert.equal(subject.refused(fingerprint(basic('bob', 'hunter-2'))), false);
    assert.equal(await readFile(join(directory, 'runs'), 'utf8'), 'run\nrun\n');
  });

  it('keeps an answer for a while where it may, until a registry refuses it', async (t) => {
    let nowMs = 0;
    const { helpers: subject, directory } = await helpers(t, { it: `echo run >>runs; ${FOUND}` }, { cacheMs: 60_000, nowMs: () => nowMs });
    const runs = async (): Promise<number> => {
      await subject.get('it', 'a.example', signal);
      return (await readFile(join(directory, 'runs'), 'utf8')).split('\n').length - 1;
    };
    assert.deepEqual([await runs(), await runs()], [1, 1]);
    const print = fingerprint(basic('bob', 'hunter-2'));
    assert.equal(subject.refused(print), false, 'it was asked but now');
    nowMs = 5_000;
    assert.equal(subject.refused(print), true);
    assert.deepEqual([await runs(), await runs()], [2, 2]);
    nowMs = 65_000;
    assert.equal(await runs(), 3);
  });

  it('runs a few at a time and all of them in the end', async (t) => {
    const { helpers: subject } = await helpers(t, { it: FOUND });
    const all = await Promise.all(Array.from({ length: 12 }, (_, i) => subject.get('it', `host-${i}.example`, signal)));
    assert.equal(all.filter((credential) => credential?.kind === 'basic').length, 12);
  });
});

/** Waits until a process has ended; the test runner's own limit ends the wait. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
    if (stat === undefined || / [ZX] /.test(stat)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
