import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, readlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Child } from './child.ts';
import type { KubeApi } from './kube-api.ts';
import { kubeProgram } from './kube-programs.ts';
import { freePort } from './ports.ts';

const run = promisify(execFile);

export interface KubeletOptions {
  /** Root, configuration and log go below. */
  readonly directory: string;
  /** Started with `name` among its nodes. */
  readonly api: KubeApi;
  readonly name: string;
  /** containerd's socket. */
  readonly runtimeAddress: string;
  /** The socket that it pulls images through. */
  readonly imageServiceAddress: string;
  /** More flags, e.g. those of credential provider plugins. */
  readonly flags?: readonly string[];
}

const READY_MS = 60_000;
const LOG_LINKS = '/var/log/containers';

interface Node {
  readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/** A real kubelet, whose pods name its node and use the host's network. */
export class Kubelet implements AsyncDisposable {
  readonly #child: Child;
  readonly #directory: string;

  private constructor(child: Child, directory: string) {
    this.#child = child;
    this.#directory = directory;
  }

  /** @returns when its node is ready */
  static async start({ directory, api, name, runtimeAddress, imageServiceAddress, flags = [] }: KubeletOptions): Promise<Kubelet> {
    await mkdir(directory, { recursive: true });
    const config = {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
      authorization: { mode: 'AlwaysAllow' },
      cgroupDriver: 'cgroupfs',
      failCgroupV1: false,
      cgroupsPerQOS: false,
      enforceNodeAllocatable: [],
      failSwapOn: false,
      containerRuntimeEndpoint: `unix://${runtimeAddress}`,
      imageServiceEndpoint: `unix://${imageServiceAddress}`,
      address: '127.0.0.1',
      port: await freePort(),
      readOnlyPort: 0,
      healthzPort: 0,
      localStorageCapacityIsolation: false,
      makeIPTablesUtilChains: false,
      resolvConf: '',
      // Within the directory, for the mount that it makes of it to be found there.
      podLogsDir: join(directory, 'pod-logs'),
    };
    const configPath = join(directory, 'kubelet.yaml');
    await writeFile(configPath, JSON.stringify(config)); // YAML takes JSON
    const kubeconfig = api.kubeconfig(`system:node:${name}`);
    const own = ['--config', configPath, '--kubeconfig', kubeconfig, '--root-dir', join(directory, 'root'), '--hostname-override', name];
    const child = new Child(kubeProgram('kubelet'), [...own, ...flags], { logPath: join(directory, 'kubelet.log') });
    const kubelet = new Kubelet(child, directory);
    try {
      await child.ready(async () => isReady((await api.request<Node>('GET', `/api/v1/nodes/${name}`)).body), READY_MS);
    } catch (error) {
      await kubelet[Symbol.asyncDispose]();
      throw error;
    }
    return kubelet;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stop();
    // It mounts its root on itself, and secrets and tokens of pods below it.
    const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '');
    for (const target of mounts.filter((path) => path.startsWith(`${this.#directory}/`)).toReversed()) await run('umount', ['-l', target]);
    // A link for each container's log, in a place that cannot be configured.
    for (const name of await readdir(LOG_LINKS).catch(() => [])) {
      const link = join(LOG_LINKS, name);
      if ((await readlink(link)).startsWith(`${this.#directory}/`)) await unlink(link);
    }
  }
}

function isReady({ status }: Node): boolean {
  return status.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;
}
