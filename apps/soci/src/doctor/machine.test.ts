import assert from 'node:assert/strict';
import { chmod, mkdir, symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { release } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { collectLogs } from '@soci/log';
import { makeFolder } from '../testing/folder.ts';
import type { Check, Verdict } from './check.ts';
import { configFile } from './config-file.ts';
import { DoctorContext, type DoctorOptions } from './doctor-context.ts';
import { fuseDevice } from './fuse-device.ts';
import { erofs, fuse, kernel, overlay } from './kernel.ts';
import { disk, rootFolder } from './root-folder.ts';
import { containerdSocket, serviceSocket } from './sockets.ts';
import { judgeUnit, systemd } from './systemd.ts';

const signal = new AbortController().signal;

/** Runs a check on a machine that has these files and nothing else. */
async function on(
  t: TestContext,
  check: Check,
  files: Readonly<Record<string, string | Buffer>>,
  options: Partial<DoctorOptions> = {},
): Promise<string> {
  const system = await makeFolder(t, files);
  const paths = {
    adminAddress: join(system, 'a'),
    configPath: join(system, 'c'),
    containerdConfigPath: join(system, 'd'),
    containerdAddress: join(system, 's'),
  };
  using context = new DoctorContext({
    ...paths,
    root: system,
    registries: [],
    environment: {},
    log: collectLogs().log,
    nowMs: Date.now,
    system,
    ...options,
  });
  return lines(await check.run(context, signal));
}

function lines(verdicts: Verdict | readonly Verdict[]): string {
  return [verdicts]
    .flat()
    .map((verdict) => `${verdict.outcome}: ${verdict.message}${verdict.outcome === 'ok' ? '' : ` -> ${verdict.cure}`}`)
    .join('\n');
}

describe('the kernel', () => {
  for (const [version, want] of [
    ['6.12.0', /^ok: Linux 6\.12\.0$/],
    ['7.0-rc1', /^ok/],
    ['6.11.9-generic', /^problem: Linux 6\.11\.9-generic is older than 6\.12: images are pulled plainly -> boot a newer kernel$/],
    ['5.15.0', /^problem/],
  ] as const) {
    it(`of version ${version}`, async (t) => {
      assert.match(await on(t, kernel, { 'proc/sys/kernel/osrelease': `${version}\n` }), want);
    });
  }

  const FILE_SYSTEMS = 'nodev\tsysfs\nnodev\tfuse\n\tfuseblk\nnodev\toverlay\n\terofs\n';
  it('has the file systems', async (t) => {
    for (const check of [erofs, fuse, overlay]) assert.match(await on(t, check, { 'proc/filesystems': FILE_SYSTEMS }), /^ok/);
  });

  it('tells a module that is not loaded from one that is not there', async (t) => {
    const files = (config: string) => ({ 'proc/filesystems': 'nodev\tsysfs\n\tfuseblk\n', 'proc/config.gz': gzipSync(config) });
    assert.match(await on(t, fuse, files('CONFIG_FUSE_FS=m\n')), /^warning: .* -> modprobe fuse/);
    assert.match(await on(t, fuse, files('# CONFIG_FUSE_FS is not set\n')), /^problem: the kernel was built without fuse/);
    assert.match(await on(t, overlay, { 'proc/filesystems': 'nodev\tsysfs\n' }), /^problem: the kernel has no overlay -> modprobe overlay/);
    assert.match(await on(t, overlay, { 'proc/filesystems': '', [`boot/config-${release()}`]: 'CONFIG_OVERLAY_FS=m\n' }), /^warning/);
  });

  it('has to mount EROFS from files', async (t) => {
    const files = (line: string) => ({ 'proc/filesystems': FILE_SYSTEMS, 'proc/config.gz': gzipSync(`CONFIG_EROFS_FS=y\n${line}\n`) });
    assert.match(await on(t, erofs, files('CONFIG_EROFS_FS_BACKED_BY_FILE=y')), /^ok/);
    assert.match(
      await on(t, erofs, files('# CONFIG_EROFS_FS_BACKED_BY_FILE is not set')),
      /^problem: the kernel mounts EROFS from block devices alone/,
    );
  });
});

describe('/dev/fuse', () => {
  it('has to be a device that can be opened', async (t) => {
    assert.match(await on(t, fuseDevice, {}), /^problem: \/dev\/fuse is not there -> modprobe fuse/);
    assert.match(await on(t, fuseDevice, { 'dev/fuse': '' }), /^problem: \/dev\/fuse is no device/);
    const system = await makeFolder(t);
    await mkdir(join(system, 'dev'));
    await symlink('/dev/null', join(system, 'dev/fuse')); // a character device that everybody may open
    assert.match(await on(t, fuseDevice, {}, { system }), /^ok/);
  });
});

describe('the state folder', () => {
  it('belongs to root alone', { skip: process.getuid?.() !== 0 && 'needs root' }, async (t) => {
    const root = await makeFolder(t);
    assert.match(await on(t, rootFolder, {}, { root: `${root}/` }), new RegExp(`^ok: ${root}, mode 700$`));
    await chmod(root, 0o755);
    assert.match(
      await on(t, rootFolder, {}, { root }),
      new RegExp(`^warning: ${root} is open to others \\(mode 755\\) -> chmod 700 ${root}$`),
    );
    assert.match(await on(t, rootFolder, {}, { root: join(root, 'a/b') }), /^ok: .* is not there yet/);
    assert.match(await on(t, disk, {}, { root: join(root, 'a/b') }), /\d+ MiB of \d+ MiB are free below/);
  });

  it('is not on a file system that overlayfs cannot stand on', async (t) => {
    assert.match(
      await on(t, rootFolder, {}, { root: '/dev/shm/soci' }),
      /^warning: \/dev\/shm\/soci is on tmpfs: everything is fetched again after a boot/,
    );
  });
});

describe('sockets', () => {
  it('answer, and not to everybody', async (t) => {
    const folder = await makeFolder(t, { plain: '' });
    const path = join(folder, 'x.sock');
    const server = createServer((socket) => socket.destroy()).listen(path);
    t.after(() => server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    await chmod(path, 0o660);
    const look = (containerdAddress: string) => on(t, containerdSocket, {}, { containerdAddress });
    assert.match(await look(`unix://${path}`), /^ok: .*x\.sock answers, mode 660, owner \d+:\d+$/);
    await chmod(path, 0o666);
    assert.match(await look(path), /^problem: .*x\.sock is open to everybody \(mode 666, owner \d+:\d+\) -> chmod o= /);
    await chmod(path, 0o660);
    await chmod(folder, 0o777);
    assert.match(await look(path), /^problem: others can put a socket of their own in place of /);
    await chmod(folder, 0o1777);
    assert.match(await look(path), /^ok/);
    assert.match(await look(join(folder, 'plain')), /^problem: nobody listens on .*plain -> start containerd/);
    assert.match(await look(join(folder, 'none')), /^problem: .*none is not there -> start containerd/);
  });

  it('of a service that does not run is looked for at its usual place', async (t) => {
    assert.match(await on(t, serviceSocket, {}), /\/run\/soci-snapshotter-grpc\/soci-snapshotter-grpc\.sock/);
  });
});

describe('the configuration of the service', () => {
  it('is told of line by line', async (t) => {
    const folder = await makeFolder(t, { good: '', odd: 'mount_timeout_secs = 3\n', bad: 'mount_timeout_sec = "x"\n', broken: '= 1\n' });
    const look = (name: string) => on(t, configFile, {}, { configPath: join(folder, name) });
    assert.match(await look('good'), /^ok: .*good can be read$/);
    assert.match(await look('odd'), /^warning: .*odd:1: unknown key mount_timeout_secs, did you mean mount_timeout_sec\? -> /);
    assert.match(await look('bad'), /^problem: .*bad: .* -> correct it/);
    assert.match(await look('broken'), /^problem: .*broken:1:1: not valid TOML/);
    assert.match(await look('none'), /^problem: failed to open config file .*none: no such file/);
  });
});

describe('the systemd unit', () => {
  const shown = (access: string, max: number, load = 'loaded') =>
    `LoadState=${load}\nNotifyAccess=${access}\nFileDescriptorStoreMax=${max}\n`;
  it('has to let the service leave descriptors', () => {
    assert.match(lines(judgeUnit('x.service', shown('all', 64))), /^ok: x\.service keeps the mounts over a restart$/);
    assert.match(
      lines(judgeUnit('x.service', shown('main', 64))),
      /^problem: x\.service has NotifyAccess=main: .* -> set NotifyAccess=all and FileDescriptorStoreMax=64/,
    );
    assert.match(lines(judgeUnit('x.service', shown('all', 0))), /^problem: x\.service has FileDescriptorStoreMax=0/);
    assert.match(lines(judgeUnit('x.service', shown('none', 0, 'not-found'))), /^warning: there is no unit x\.service/);
  });

  it('is not looked for where there is no systemd', async (t) => {
    assert.equal(await on(t, systemd, { 'proc/1/comm': 'init\n' }), '');
  });
});
