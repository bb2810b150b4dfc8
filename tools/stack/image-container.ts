import type { Containerd } from '@soci/testing';
import { ChildContainer } from './child-container.ts';
import type { ContainerSpec, Mount } from './container.ts';

/** What a container of containerd has when nothing is said. */
const DEFAULT_CAPABILITIES = [
  ...['CHOWN', 'DAC_OVERRIDE', 'FSETID', 'FOWNER', 'MKNOD', 'NET_RAW', 'SETGID', 'SETUID', 'SETFCAP', 'SETPCAP', 'NET_BIND_SERVICE'],
  ...['SYS_CHROOT', 'KILL', 'AUDIT_WRITE'],
];

/** A service that containerd runs from its image, on the network of whoever starts it. The image says who it runs as. It gets signals from `ctr`, which cannot pass KILL on. */
export class ImageContainer extends ChildContainer {
  readonly #containerd: Containerd;
  #starts = 0;
  #execs = 0;

  constructor(spec: ContainerSpec, containerd: Containerd) {
    super(spec);
    this.#containerd = containerd;
  }

  start(): Promise<void> {
    this.#starts++;
    const { image, command, env, mounts } = this.spec;
    const flags = [
      ...['--rm', '--net-host', '--read-only', '--snapshotter', 'overlayfs', ...this.#rights()],
      ...Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
      ...mounts.flatMap((mount) => ['--mount', mountFlag(mount)]),
    ];
    const [ctr, ...args] = this.#containerd.ctrCommand(['run', ...flags, `docker.io/${image}:latest`, this.#id, ...command]);
    this.startChild(ctr, args);
    return Promise.resolve();
  }

  execCommand(command: readonly string[]): readonly [string, ...string[]] {
    return this.#containerd.ctrCommand(['task', 'exec', '--exec-id', `exec-${this.#execs++}`, this.#id, ...command]);
  }

  #rights(): readonly string[] {
    const { isPrivileged, capabilities } = this.spec;
    // An engine shows control groups by itself, `ctr` does not.
    if (isPrivileged) return ['--privileged', '--mount', mountFlag({ source: '/sys/fs/cgroup', target: '/sys/fs/cgroup' })];
    return DEFAULT_CAPABILITIES.filter((name) => !capabilities.includes(name)).flatMap((name) => ['--cap-drop', `CAP_${name}`]);
  }

  get #id(): string {
    return `stack-${this.name}-${this.#starts}`;
  }
}

function mountFlag({ source, target, isReadOnly = false, options = '' }: Mount): string {
  if (source === undefined) return `type=tmpfs,src=tmpfs,dst=${target},options=nosuid:nodev:${options.replaceAll(',', ':')}`;
  return `type=bind,src=${source},dst=${target},options=rbind:${isReadOnly ? 'ro' : 'rw'}`;
}
