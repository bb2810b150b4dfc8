import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Child, type Containerd } from '@soci/testing';
import { EXEC_TIMEOUT_MS, type Container, type ContainerSpec, type Mount } from './container.ts';

const run = promisify(execFile);
/** What a container of containerd has when nothing is said. */
const DEFAULT_CAPABILITIES = [
  ...['CHOWN', 'DAC_OVERRIDE', 'FSETID', 'FOWNER', 'MKNOD', 'NET_RAW', 'SETGID', 'SETUID', 'SETFCAP', 'SETPCAP', 'NET_BIND_SERVICE'],
  ...['SYS_CHROOT', 'KILL', 'AUDIT_WRITE'],
];

/** A service that containerd runs from its image, on the network of whoever starts it. The image says who it runs as. */
export class ImageContainer implements Container {
  readonly name: string;
  readonly #spec: ContainerSpec;
  readonly #containerd: Containerd;
  #child: Child | undefined;
  #starts = 0;
  #execs = 0;

  constructor(spec: ContainerSpec, containerd: Containerd) {
    this.#spec = spec;
    this.#containerd = containerd;
    this.name = spec.name;
  }

  start(): Promise<void> {
    this.#starts++;
    const { image, command, env, mounts, logPath } = this.#spec;
    const flags = [
      ...['--rm', '--net-host', '--read-only', '--snapshotter', 'overlayfs', ...this.#rights()],
      ...Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
      ...mounts.flatMap((mount) => ['--mount', mountFlag(mount)]),
    ];
    const [ctr, ...args] = this.#containerd.ctrCommand(['run', ...flags, `docker.io/${image}:latest`, this.#id, ...command]);
    this.#child = new Child(ctr, args, { logPath });
    return Promise.resolve();
  }

  get isRunning(): boolean {
    return this.#child?.isRunning ?? false;
  }

  get exitCode(): number | null {
    return this.#child?.exitCode ?? null;
  }

  logTail(): Promise<string> {
    return this.#started.logTail();
  }

  /** Of signals that `ctr` can pass on, so not KILL. */
  kill(signal: NodeJS.Signals): void {
    this.#started.kill(signal);
  }

  exited(timeoutMs?: number): Promise<number> {
    return this.#started.exited(timeoutMs);
  }

  async exec(command: readonly string[], timeoutMs = EXEC_TIMEOUT_MS): Promise<void> {
    const [program, ...args] = this.execCommand(command);
    await run(program, args, { timeout: timeoutMs });
  }

  execCommand(command: readonly string[]): readonly [string, ...string[]] {
    return this.#containerd.ctrCommand(['task', 'exec', '--exec-id', `exec-${this.#execs++}`, this.#id, ...command]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.stop();
  }

  #rights(): readonly string[] {
    const { isPrivileged, capabilities } = this.#spec;
    // An engine shows control groups by itself, `ctr` does not.
    if (isPrivileged) return ['--privileged', '--mount', mountFlag({ source: '/sys/fs/cgroup', target: '/sys/fs/cgroup' })];
    return DEFAULT_CAPABILITIES.filter((name) => !capabilities.includes(name)).flatMap((name) => ['--cap-drop', `CAP_${name}`]);
  }

  get #id(): string {
    return `stack-${this.name}-${this.#starts}`;
  }

  get #started(): Child {
    if (this.#child === undefined) throw new Error(`${this.name} was not started`);
    return this.#child;
  }
}

function mountFlag({ source, target, isReadOnly = false, options = '' }: Mount): string {
  if (source === undefined) return `type=tmpfs,src=tmpfs,dst=${target},options=nosuid:nodev:${options.replaceAll(',', ':')}`;
  return `type=bind,src=${source},dst=${target},options=rbind:${isReadOnly ? 'ro' : 'rw'}`;
}
