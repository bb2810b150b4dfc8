import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { hasCode } from '@soci/errors';
import { collectLogs } from '@soci/log';
import { version } from '@soci/proto';
import { activatedSocket, implement, openChannel, serveGrpc } from './index.ts';

const signal = new AbortController().signal;

describe('activatedSocket', () => {
  const cases = [
    { environment: {}, want: undefined },
    { environment: { LISTEN_PID: '7', LISTEN_FDS: '1' }, want: 3 },
    { environment: { LISTEN_PID: '8', LISTEN_FDS: '1' }, want: undefined },
    { environment: { LISTEN_PID: '7', LISTEN_FDS: '0' }, want: undefined },
    { environment: { LISTEN_PID: '7', LISTEN_FDS: 'x' }, want: undefined },
  ];
  for (const { environment, want } of cases) {
    it(`reads ${JSON.stringify(environment)}`, () => assert.equal(activatedSocket(environment, 7), want));
  }

  it('refuses two sockets', () => {
    assert.throws(
      () => activatedSocket({ LISTEN_PID: '7', LISTEN_FDS: '2' }, 7),
      (error) => hasCode(error, 'LISTEN_FAILED'),
    );
  });
});

describe('fd://', () => {
  const services = [implement(version.VersionService, { version: () => Promise.resolve({ version: 'activated', revision: '' }) })];

  it('falls back to the default address, and says so, when no socket was passed', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'rpc-'));
    t.after(() => rm(directory, { recursive: true, force: true }));
    const { log, lines } = collectLogs();
    const fallbackAddress = join(directory, 'default.sock');
    const server = await serveGrpc({ address: 'fd://', services, log, activation: { environment: {}, pid: process.pid, fallbackAddress } });
    t.after(() => server.stop());
    assert.equal(server.address, `unix://${fallbackAddress}`);
    assert.match(lines.join('\n'), /socket activation/);
  });

  it('serves on a socket that another program opened before it became this one', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'rpc-'));
    t.after(() => rm(directory, { recursive: true, force: true }));
    const path = join(directory, 'activated.sock');
    const opener = `$^F = 9; socket(S, AF_UNIX, SOCK_STREAM, 0) && fileno(S) == 3 && bind(S, pack_sockaddr_un(shift)) && listen(S, 5) or die;
      $ENV{LISTEN_PID} = $$; $ENV{LISTEN_FDS} = 1; exec @ARGV;`;
    const script = `
      import { implement, serveGrpc } from '@soci/rpc';
      import { version } from '@soci/proto';
      const server = await serveGrpc({
        address: 'fd://', log: { info() {}, error() {} },
        services: [implement(version.VersionService, { version: async () => ({ version: 'activated', revision: '' }) })],
        activation: { environment: process.env, pid: process.pid, fallbackAddress: '/nowhere' },
      });
      console.log(server.address);
      process.on('SIGTERM', () => server.stop());`;
    const node = [process.execPath, '--conditions=@soci/source', '--input-type=module', '-e', script];
    const child = spawn('perl', ['-MSocket', '-e', opener, path, ...node], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: import.meta.dirname,
    });
    t.after(() => child.kill('SIGKILL'));
    const exited = once(child, 'exit');
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    assert.equal(line.toString().trim(), 'fd://');
    using channel = openChannel({ address: path });
    assert.equal((await channel.client(version.VersionService).version({}, { signal })).version, 'activated');
    child.kill('SIGTERM');
    assert.deepEqual(await exited, [0, null]);
  });
});
