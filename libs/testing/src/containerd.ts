import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Child } from './child.ts';

const run = promisify(execFile);

export interface ContainerdOptions {
  /** Root, state, sockets and log go below; on a file system that overlayfs can stand on. */
  readonly directory: string;
  /** Unix socket of a proxy snapshotter, which CRI pulls then use under the name `soci`. */
  readonly snapshotterAddress?: string;
  /** Folder with `containerd`, `ctr` and the shim, instead of those on PATH. */
  readonly binaries?: string;
  /** Image of the container that holds a pod's namespaces; only where pods are run. */
  readonly sandboxImage?: string;
}

/** The containerd namespace that CRI works in. */
const CRI_NAMESPACE = 'k8s.io';

/** A containerd of its own: nothing of it lies outside `directory` but what shims put into /run/containerd. */
export class Containerd implements AsyncDisposable {
  readonly address: string;
  readonly majorVersion: number;
  readonly #options: ContainerdOptions;
  #child: Child | undefined;

  private constructor(options: ContainerdOptions, majorVersion: number) {
    this.#options = options;
    this.majorVersion = majorVersion;
    this.address = join(options.directory, 'containerd.sock');
  }

  static async start(options: ContainerdOptions): Promise<Containerd> {
    const { stdout } = await run(program(options, 'containerd'), ['--version']);
    const containerd = new Containerd(options, Number(/\bv?(\d+)\.\d+/.exec(stdout)?.[1] ?? 1));
    await mkdir(join(options.directory, 'cni'), { recursive: true });
    await writeFile(join(options.directory, 'cni', '1.conflist'), '{"cniVersion":"1.0.0","name":"t","plugins":[{"type":"loopback"}]}');
    await writeFile(
      join(options.directory, 'containerd.toml'),
      containerd.majorVersion >= 2 ? configVersion3(options) : configVersion2(options),
    );
    await containerd.startAgain();
    return containerd;
  }

  async startAgain(): Promise<void> {
    const { directory, binaries } = this.#options;
    const path = binaries === undefined ? process.env.PATH : `${binaries}:${process.env.PATH ?? ''}`;
    const child = new Child(program(this.#options, 'containerd'), ['-c', join(directory, 'containerd.toml')], {
      logPath: join(directory, 'containerd.log'),
      env: { PATH: path },
    });
    this.#child = await child.ready(async () => (await this.ctr(['version'])).length > 0);
  }

  /** Runs `ctr` in CRI's namespace. @returns its standard output */
  async ctr(args: readonly string[], { namespace = CRI_NAMESPACE, timeoutMs = 120_000 } = {}): Promise<string> {
    const { stdout } = await run(program(this.#options, 'ctr'), ['-a', this.address, '-n', namespace, ...args], {
      maxBuffer: 64 << 20,
      timeout: timeoutMs,
    });
    return stdout;
  }

  /** The program and arguments that `ctr` stands for, for callers that read its output as it comes. */
  ctrCommand(args: readonly string[]): readonly [string, ...string[]] {
    return [program(this.#options, 'ctr'), '-a', this.address, '-n', CRI_NAMESPACE, ...args];
  }

  get pid(): number {
    if (this.#child === undefined) throw new Error('containerd was not started');
    return this.#child.pid;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#child?.kill(signal);
    await this.#child?.exited();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.stop();
  }
}

function program({ binaries }: ContainerdOptions, name: string): string {
  return binaries === undefined ? name : join(binaries, name);
}

function proxyPlugin({ directory, snapshotterAddress }: ContainerdOptions): string {
  if (snapshotterAddress === undefined) return '';
  return `[proxy_plugins.soci]\ntype = "snapshot"\naddress = ${JSON.stringify(snapshotterAddress)}\n[proxy_plugins.soci.exports]\nroot = ${JSON.stringify(join(directory, 'soci'))}\n`;
}

function common({ directory }: ContainerdOptions, version: number): string {
  return `version = ${version}
root = "${directory}/root"
state = "${directory}/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "${directory}/containerd.sock"
[ttrpc]
address = "${directory}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "${directory}/opt"
`;
}

function configVersion2(options: ContainerdOptions): string {
  return `${common(options, 2)}
[plugins."io.containerd.grpc.v1.cri"]
${options.sandboxImage === undefined ? '' : `sandbox_image = "${options.sandboxImage}"\n`}stream_server_address = "127.0.0.1"
stream_server_port = "0"
restrict_oom_score_adj = true
disable_apparmor = true
tolerate_missing_hugetlb_controller = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "${options.snapshotterAddress === undefined ? 'overlayfs' : 'soci'}"
disable_snapshot_annotations = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${options.directory}/cni"
${proxyPlugin(options)}`;
}

function configVersion3(options: ContainerdOptions): string {
  return `${common(options, 3)}
[plugins."io.containerd.cri.v1.images"]
snapshotter = "${options.snapshotterAddress === undefined ? 'overlayfs' : 'soci'}"
disable_snapshot_annotations = false
use_local_image_pull = true
${options.sandboxImage === undefined ? '' : `[plugins."io.containerd.cri.v1.images".pinned_images]\nsandbox = "${options.sandboxImage}"\n`}[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
tolerate_missing_hugetlb_controller = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "${options.directory}/cni"
${proxyPlugin(options)}`;
}
