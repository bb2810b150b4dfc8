import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '@soci/log';
import type { Bus, ServiceName } from '../bus.ts';
import { Deployment } from '../deployment/deployment.ts';
import type { Topology } from '../deployment/deployment-document.ts';
import { NatsBus } from '../nats-bus.ts';

/** Keys and a server configuration in a folder of its own. */
export class Deployed implements AsyncDisposable {
  readonly directory: string;
  readonly port: number;
  readonly deployment: Deployment;

  private constructor(directory: string, port: number, deployment: Deployment) {
    this.directory = directory;
    this.port = port;
    this.deployment = deployment;
  }

  static async make(port: number, nodes: readonly string[] = ['node-x'], topology: Topology = 'cluster'): Promise<Deployed> {
    const directory = await mkdtemp(join(tmpdir(), 'soci-bus-'));
    const deployment = await Deployment.create({
      path: join(directory, 'bus'),
      topology,
      nodes,
      hosts: ['127.0.0.1', 'localhost'],
      listen: `127.0.0.1:${port}`,
    });
    return new Deployed(directory, port, deployment);
  }

  /** For `Nats.start`. */
  get server(): { readonly configPath: string; readonly port: number; readonly logPath: string } {
    return {
      configPath: join(this.deployment.path, 'nats', 'nats-server.conf'),
      port: this.port,
      logPath: join(this.directory, 'nats.log'),
    };
  }

  /** Lets somebody in who may listen to all there is. */
  async admitListener(publicKey: string): Promise<void> {
    const { configPath } = this.server;
    const config = await readFile(configPath, 'utf8');
    await writeFile(configPath, config.replace('users: [', `users: [\n      { nkey: ${publicKey} }`));
  }

  keysDir(node?: string): string {
    return node === undefined || this.deployment.document.topology === 'host'
      ? this.deployment.path
      : join(this.deployment.path, 'nodes', node);
  }

  bus(service: ServiceName, node: string | undefined, log: Logger, more: { readonly nowMs?: () => number } = {}): NatsBus {
    return new NatsBus({ servers: [`tls://127.0.0.1:${this.port}`], keysDir: this.keysDir(node), service, log, ...more });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

export async function connected(...buses: readonly Bus[]): Promise<void> {
  for (const bus of buses) {
    for (let tries = 0; bus.state.kind !== 'connected'; tries++) {
      if (tries > 500) throw new Error(`the bus did not connect: ${bus.state.reason}`);
      await sleep(20);
    }
  }
}
