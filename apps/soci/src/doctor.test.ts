import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { serveGrpc } from '@soci/rpc';
import { RecentTroubles, serveAdmin, ServiceHealth, SnapshotterWatch, type ServiceFacts, type SnapshotterState } from '@soci/status';
import { Containerd } from '@soci/testing';
import type { Finding } from './doctor/check.ts';
import { makeFolder } from './testing/folder.ts';
import { containerdOptions, whyNot } from './testing/needs.ts';
import { runSoci, type Run } from './testing/run-soci.ts';
import { VERSION } from './version.ts';

const STATE: SnapshotterState = {
  mode: { mode: 'erofs', reason: 'EROFS over FUSE', continuity: 'resend' },
  restore: { phase: 'finished', total: 2, restored: 2, notRestored: [] },
  layers: { used: 2, served: 1, complete: 1, slots: 2 },
  readsWaiting: 0,
  readsFailed: { timeout: 0 },
  restarts: { count: 0, lastEnd: '', requestsResumed: 0 },
};

/** A service as `soci doctor` sees it: its sockets, its configuration, what it tells of itself. */
class Installation {
  readonly folder: string;
  readonly troubles = new RecentTroubles();
  state = STATE;
  probe: () => Promise<void> = () => Promise.resolve();
  readonly #t: TestContext;

  private constructor(t: TestContext, folder: string) {
    this.#t = t;
    this.folder = folder;
  }

  static async make(t: TestContext, config = ''): Promise<Installation> {
    const folder = await makeFolder(t);
    await writeFile(join(folder, 'config.toml'), `${config}\n[resolver]\nconfig_path = "${folder}/certs.d"\n`);
    return new Installation(t, folder);
  }

  get address(): string {
    return join(this.folder, 'soci.sock');
  }

  get admin(): string {
    return join(this.folder, 'admin.sock');
  }

  async serve(facts: Partial<ServiceFacts> = {}): Promise<void> {
    const { log } = collectLogs();
    const server = await serveGrpc({ address: this.address, services: [], log, socketMode: 0o660 });
    this.#t.after(() => server.stop());
    const snapshotter = new SnapshotterWatch();
    snapshotter.opened({ state: () => this.state, probe: () => this.probe() });
    snapshotter.serving(server.address);
    const about = {
      name: 'soci-snapshotter-grpc',
      version: VERSION,
      revision: '',
      root: this.folder,
      configPath: join(this.folder, 'config.toml'),
    };
    const health = new ServiceHealth({ conditions: snapshotter.conditions(), deadlineMs: 200 });
    const admin = await serveAdmin({
      address: this.admin,
      log,
      sources: [
        { name: 'cri', off: '[cri_keychain] enable_keychain is false' },
        { source: { name: 'kubernetes-secrets', resolve: () => Promise.reject(new Error('not asked')) } },
      ],
      health,
      facts: { ...about, snapshotter, troubles: this.troubles, ...facts },
    });
    this.#t.after(() => admin?.stop());
  }

  async doctor(...args: readonly string[]): Promise<Run> {
    const { folder } = this;
    const own = [
      '--config',
      join(folder, 'config.toml'),
      '--admin-address',
      this.admin,
      '--address',
      join(folder, 'containerd.sock'),
      '--root',
      folder,
    ];
    return await runSoci(['doctor', ...own, '--containerd-config', join(folder, 'containerd.toml'), ...args]);
  }

  async findings(...args: readonly string[]): Promise<readonly Finding[]> {
    const { stdout } = await this.doctor('--json', ...args);
    return (JSON.parse(stdout) as { readonly findings: readonly Finding[] }).findings;
  }

  async look(check: string): Promise<readonly string[]> {
    const all = (await this.findings()).filter((finding) => finding.check === check);
    return all.map(({ outcome, message }) => `${outcome}: ${message}`);
  }
}

describe('soci doctor', () => {
  it('says what is missing where nothing is, one line each with the cure, and ends with status 1', async (t) => {
    const installation = await Installation.make(t);
    const { exit, stdout, stderr } = await installation.doctor();
    assert.equal(exit, 1);
    assert.match(
      stdout,
      new RegExp(`^problem {2}service +no service answers at ${installation.admin} -> start soci-snapshotter-grpc`, 'm'),
    );
    assert.match(
      stdout,
      new RegExp(`^problem {2}containerd-socket +${installation.folder}/containerd.sock is not there -> start containerd`, 'm'),
    );
    assert.match(
      stdout,
      /^problem {2}containerd-config +containerd's configuration cannot be read: .* -> name it with --containerd-config/m,
    );
    assert.match(stdout, /^ok {7}config +.*config\.toml can be read$/m);
    for (const line of stdout.trimEnd().split('\n')) assert.match(line, /^(?:ok|warning|problem) +[a-z-]+ {2,}\S/);
    assert.match(stderr, /^soci: \d+ problems found\n$/);
  });

  it('tells how a service is doing', async (t) => {
    const installation = await Installation.make(t);
    await installation.serve();
    assert.match((await installation.look('service'))[0] ?? '', new RegExp(`^ok: soci-snapshotter-grpc ${VERSION}, up for \\d+ `));
    assert.match((await installation.look('socket'))[0] ?? '', /^ok: .*soci\.sock answers, mode 660/);
    assert.match((await installation.look('admin-socket'))[0] ?? '', /^ok: .*admin\.sock answers, mode 600/);
    assert.deepEqual(await installation.look('lazy-mode'), [
      'ok: erofs: EROFS over FUSE; the kernel sends waiting reads again after a restart',
    ]);
    assert.match(
      (await installation.look('ready'))[0] ?? '',
      /^ok: served at .*; 2 of 2 lazy snapshots restored; read through the mount in \d+ ms$/,
    );
    assert.deepEqual(await installation.look('snapshots'), ['ok: 2 layers in use, 1 served through FUSE, 0 reads wait']);
    assert.deepEqual(await installation.look('credentials'), ['ok: cri off, kubernetes-secrets on']);
    assert.deepEqual(await installation.look('log'), ['ok: no warnings and no errors']);
    assert.match((await installation.look('limits'))[0] ?? '', /the service may have \S+ files open/);
  });

  it('finds the admin socket by the configuration', async (t) => {
    const installation = await Installation.make(t);
    await installation.serve();
    const config = join(installation.folder, 'other.toml');
    await writeFile(config, `[admin]\naddress = "${installation.admin}"\n`);
    const { stdout } = await runSoci(['doctor', '--config', config, '--address', join(installation.folder, 'none')]);
    assert.match(stdout, /^ok +service +soci-snapshotter-grpc/m);
  });

  it('tells what is wrong with a service', async (t) => {
    const installation = await Installation.make(t);
    installation.state = {
      ...STATE,
      mode: { mode: 'plain', reason: 'no /dev/fuse', continuity: '' },
      restore: {
        phase: 'running',
        total: 9,
        restored: 2,
        notRestored: Array.from({ length: 5 }, (_, i) => ({ key: `k${i}`, layerDigest: 'sha256:1', reason: 'names are gone' })),
      },
      readsFailed: { timeout: 3, disk: 0, mismatch: 1 },
      restarts: { count: 2, lastEnd: 'SIGKILL', requestsResumed: 1 },
    };
    installation.troubles.note('{"level":"error","host":"r.example.com","msg":"span rejected"}');
    await installation.serve({
      sourceState: (name) => (name === 'kubernetes-secrets' ? { state: 'failed', reason: 'kubeconfig is writable by others' } : undefined),
    });
    assert.match((await installation.look('service'))[0] ?? '', /^warning: .*; was started again 2 times after it had died \(SIGKILL\)$/);
    assert.deepEqual(await installation.look('lazy-mode'), ['problem: images are pulled plainly: no /dev/fuse']);
    assert.deepEqual(await installation.look('ready'), [
      'problem: restore: 2 of 9 lazy snapshots restored so far, 5 could not be and are tried again on use',
    ]);
    const told = await installation.look('snapshots');
    assert.equal(told[0], 'warning: snapshot k0 (layer sha256:1) is not restored: names are gone');
    assert.deepEqual(told.slice(3), [
      'warning: 2 more snapshots are not restored',
      'warning: reads of containers failed with EIO: 3 timeout, 1 mismatch',
    ]);
    assert.deepEqual(await installation.look('credentials'), ['problem: kubernetes-secrets failed: kubeconfig is writable by others']);
    assert.deepEqual(await installation.look('log'), ['warning: error 0 s ago, once: span rejected (host=r.example.com)']);
  });

  it('tells of a mount that does not answer', async (t) => {
    const installation = await Installation.make(t);
    installation.probe = () => new Promise(() => undefined);
    await installation.serve();
    assert.deepEqual(await installation.look('ready'), ['problem: fuse-read: no result within 200 ms']);
  });

  it('notices a service of another version, and one whose socket is open to others', async (t) => {
    const installation = await Installation.make(t);
    await installation.serve({ version: '0.0.1' });
    await chmod(installation.admin, 0o666);
    assert.match(
      (await installation.look('service'))[0] ?? '',
      new RegExp(`^warning: soci-snapshotter-grpc 0\\.0\\.1, .*; this program is ${VERSION}$`),
    );
    assert.match((await installation.look('admin-socket'))[0] ?? '', /^problem: .* is open to everybody/);
  });

  it('sees the plugin in a containerd that runs', { skip: whyNot() }, async (t) => {
    const installation = await Installation.make(t);
    await installation.serve();
    await using containerd = await Containerd.start({
      ...containerdOptions(installation.folder),
      snapshotterAddress: installation.address,
    });
    const findings = await installation.findings();
    const told = findings
      .filter(({ check }) => check.startsWith('containerd'))
      .map(({ check, outcome, message }) => `${outcome} ${check}: ${message}`);
    assert.match(told[0] ?? '', /^ok containerd-socket: .* answers, mode \d+, owner 0:0$/);
    assert.match(told[1] ?? '', new RegExp(`^ok containerd: containerd v?${containerd.majorVersion}\\.\\S+ has the plugin soci$`));
    assert.deepEqual(told.slice(2), [
      `ok containerd-config: [proxy_plugins.soci] leads to ${installation.address}`,
      'ok containerd-cri: CRI uses soci, with annotations',
    ]);
  });

  it('sees that a containerd that runs has no plugin', { skip: whyNot() }, async (t) => {
    const installation = await Installation.make(t);
    await using containerd = await Containerd.start(containerdOptions(installation.folder));
    assert.match(
      (await installation.look('containerd'))[0] ?? '',
      new RegExp(`^problem: containerd v?${containerd.majorVersion}\\.\\S+ runs without the plugin soci$`),
    );
    assert.match((await installation.look('containerd-cri'))[0] ?? '', /snapshotter of CRI is "overlayfs"/);
  });

  it('asks the registries that it is given', async (t) => {
    const installation = await Installation.make(t);
    const findings = await installation.findings('--registry', 'one.invalid,two.invalid', '--registry', 'ONE.invalid');
    assert.deepEqual(
      findings.filter(({ check }) => check === 'registry').map(({ message }) => message.split(':')[0]),
      ['one.invalid', 'two.invalid'],
    );
  });
});
