import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { notifySystemd } from './index.ts';

/** Listens as systemd does. @returns a way to wait for the one message it gets */
async function listen(t: TestContext, path: string): Promise<() => Promise<string>> {
  const program = `
import socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.bind(sys.argv[1].replace('@', chr(0), 1) if sys.argv[1][0] == '@' else sys.argv[1])
print('bound', flush=True)
data, control, _, _ = s.recvmsg(1000, 100)
print(data.decode(), struct.unpack('3i', control[0][2])[0], flush=True)
`;
  const child = spawn('python3', ['-c', program, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  const [bound] = (await once(child.stdout, 'data')) as [Buffer];
  assert.equal(bound.toString().trim(), 'bound');
  return async () => ((await once(child.stdout, 'data')) as [Buffer])[0].toString().trim();
}

const us = { pid: process.pid, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

describe('notifySystemd', () => {
  it('speaks for its parent', { skip: us.uid === 0 ? false : 'only root may speak for another process' }, async (t) => {
    const path = `@soci-test-parent-${process.pid}`;
    const received = await listen(t, path);
    notifySystemd({ NOTIFY_SOCKET: path }, 'READY=1', { ...us, pid: process.ppid });
    assert.equal(await received(), `READY=1 ${process.ppid}`);
  });

  it('sends the state to a socket by path and in the abstract name space', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'notify-'));
    t.after(() => rm(directory, { recursive: true }));
    for (const path of [join(directory, 'socket'), `@soci-test-${process.pid}`]) {
      const received = await listen(t, path);
      notifySystemd({ NOTIFY_SOCKET: path }, 'READY=1', us);
      assert.equal(await received(), `READY=1 ${process.pid}`);
    }
  });

  it('does nothing where nobody listens for it', () => {
    notifySystemd({}, 'READY=1', us);
  });

  it('names what is wrong with the socket', () => {
    assert.throws(() => notifySystemd({ NOTIFY_SOCKET: '/nonexistent/socket' }, 'READY=1', us), {
      code: 'ENOENT',
      message: /NOTIFY_SOCKET/,
    });
    assert.throws(() => notifySystemd({ NOTIFY_SOCKET: 'relative' }, 'READY=1', us), { code: 'EINVAL' });
  });
});
