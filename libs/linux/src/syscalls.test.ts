import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { LinuxError, MOUNT_FLAGS, Syscalls, SyscallThread, UMOUNT_FLAGS } from './index.ts';
import { inPrivateNamespace } from './testing/private-namespace.ts';

function makeDirectory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'soci-linux-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A FUSE mount that nobody serves: whatever asks it for a name hangs until the descriptor is closed. */
async function mountUnserved(t: TestContext, syscalls: Syscalls): Promise<{ readonly path: string; letGo: () => void }> {
  const target = mkdtempSync(join(tmpdir(), 'soci-linux-'));
  const fd = openSync('/dev/fuse', 'r+');
  await syscalls.mount({ source: 'none', target, type: 'fuse', data: `fd=${fd},rootmode=40000,user_id=0,group_id=0` });
  let isOpen = true;
  const letGo = (): void => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  t.after(async () => {
    letGo();
    await syscalls.umount(target, UMOUNT_FLAGS.detach);
    rmSync(target, { recursive: true });
    await syscalls[Symbol.asyncDispose]();
  });
  return { path: join(target, 'file'), letGo };
}

async function allBack(thread: SyscallThread): Promise<void> {
  while (thread.stuckThreads > 0) await new Promise(setImmediate);
}

inPrivateNamespace(import.meta.filename, () => {
  describe('Syscalls', () => {
    it('mounts, binds and unmounts; neither usage nor removal crosses', async (t) => {
      const directory = makeDirectory(t);
      await using syscalls = new Syscalls();
      const [inner, bound] = [join(directory, 'tree', 'inner'), join(directory, 'bound')];
      await syscalls.makeDirectory(inner);
      await syscalls.makeDirectory(bound);
      await syscalls.mount({ source: 'none', target: inner, type: 'tmpfs', flags: MOUNT_FLAGS.noDev, data: 'size=1m' });
      try {
        writeFileSync(join(inner, 'file'), 'x');
        assert.equal((await syscalls.diskUsage(join(directory, 'tree'))).inodes, 1);
        await assert.rejects(
          syscalls.removeTree(join(directory, 'tree')),
          (error) => error instanceof LinuxError && error.code === 'EBUSY',
        );
        assert.ok(existsSync(join(inner, 'file')));
        await syscalls.bindMount(inner, bound, { readOnly: true });
        assert.throws(() => writeFileSync(join(bound, 'other'), 'x'), { code: 'EROFS' });
        assert.equal((await syscalls.stat(join(bound, 'file')))?.sizeBytes, 1);
        assert.equal((await syscalls.statfs(bound)).totalBytes, 1 << 20);
        await syscalls.umount(bound);
      } finally {
        await syscalls.umount(inner, UMOUNT_FLAGS.detach);
      }
      await syscalls.removeTree(join(directory, 'tree'));
      assert.equal(await syscalls.pathExists(join(directory, 'tree')), false);
    });

    it('lists mounts that name a path, in any of their fields, in the order in which they were made', async (t) => {
      await using syscalls = new Syscalls();
      const path = join(makeDirectory(t), 'with space');
      const [lower, upper, work, merged] = ['lower', 'upper', 'work', 'merged'].map((name) => join(path, name));
      for (const directory of [lower, upper, work, merged]) await syscalls.makeDirectory(directory ?? '');
      await syscalls.mount({ source: 'none', target: path, type: 'tmpfs' });
      for (const directory of [lower, upper, work, merged]) await syscalls.makeDirectory(directory ?? '');
      const data = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
      await syscalls.mount({ source: 'overlay', target: merged ?? '', type: 'overlay', data });
      const types = (await syscalls.mountsNaming(path)).map(({ type }) => type);
      assert.deepEqual(types, ['tmpfs', 'overlay']);
      const [naming] = await syscalls.mountsNaming(upper ?? '');
      assert.ok(naming?.superOptions.includes(`upperdir=${upper}`), String(naming?.superOptions));
      await syscalls.umount(merged ?? '');
      await syscalls.umount(path);
      assert.deepEqual(await syscalls.mountsNaming(path), []);
    });

    it('names the errno', async (t) => {
      const directory = makeDirectory(t);
      await using syscalls = new Syscalls();
      await assert.rejects(syscalls.umount(directory), { name: 'LinuxError', code: 'EINVAL', errno: 22 });
      await assert.rejects(syscalls.mount({ source: 'a', target: '/no/such', type: 'tmpfs' }), {
        code: 'ENOENT',
        message: /mount a on \/no\/such/,
      });
      await assert.rejects(syscalls.mount({ source: 'a', target: directory, type: 'erofs', data: 'x'.repeat(4096) }), { code: 'E2BIG' });
      await assert.rejects(syscalls.mount({ source: 'a\0b', target: directory, type: 'tmpfs' }), { code: 'EINVAL' });
      await assert.rejects(syscalls.lchown('/no/such', 0, 0), { code: 'ENOENT' });
      assert.equal(await syscalls.stat('/no/such'), undefined);
    });
  });

  describe('SyscallThread', () => {
    it('rejects a call past its deadline and goes on with another thread', async (t) => {
      const syscalls = new Syscalls();
      const { path, letGo } = await mountUnserved(t, syscalls);
      await using thread = new SyscallThread();
      const stuck = thread.run('pathExists', [path], { deadlineMs: 100 });
      const next = thread.run('pathExists', ['/']);
      await assert.rejects(stuck, { code: 'DEADLINE_EXCEEDED' });
      assert.equal(thread.stuckThreads, 1);
      assert.equal(await next, true);
      letGo();
      await allBack(thread);
    });

    it('refuses at once when too many threads are stuck, and takes calls again when one comes back', async (t) => {
      const syscalls = new Syscalls();
      const { path, letGo } = await mountUnserved(t, syscalls);
      await using thread = new SyscallThread();
      for (let i = 0; i < 4; i++) await assert.rejects(thread.run('pathExists', [path], { deadlineMs: 50 }), { code: 'DEADLINE_EXCEEDED' });
      await assert.rejects(async () => await thread.run('pathExists', ['/']), { code: 'THREADS_STUCK' });
      letGo();
      await allBack(thread);
      assert.equal(await thread.run('pathExists', ['/']), true);
    });
  });
});
