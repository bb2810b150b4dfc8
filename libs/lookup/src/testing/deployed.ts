import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectBus, type Bus, type NatsBus, type ServiceName } from '@soci/bus';
import { Deployment } from '@soci/bus/deployment';
import type { Logger } from '@soci/log';

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

  static async make(port: number, nodes: readonly string[] = ['node-x']): Promise<Deployed> {
    const directory = await mkdtemp(join(tmpdir(), 'soci-lookup-'));
    const deployment = await Deployment.create({
      path: join(directory, 'bus'),
      topology: 'cluster',
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

  bus(service: ServiceName, log: Logger, node = 'node-x'): NatsBus {
    const { path } = this.deployment;
    const keysDir = service === 'secret-syncer' ? path : join(path, 'nodes', node);
    return connectBus({ servers: [`tls://127.0.0.1:${this.port}`], keysDir, service, log });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

export async function until(check: () => boolean, what: string, timeoutMs = 5_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!check()) {
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await sleep(10);
  }
}

export async function connected(...buses: readonly Bus[]): Promise<void> {
  for (const bus of buses) await until(() => bus.state.kind === 'connected', 'the bus to connect');
}
