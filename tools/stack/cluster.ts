import { chmod, chown, copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { KubeStandIn } from '@soci/testing';

const USER = 'soci';
/** Who the secret-syncer is. */
const SYNCER_ID = 10_003;

export interface Cluster extends AsyncDisposable {
  /** Of a user who may follow secrets; the secret-syncer's own file, as it takes no other's. */
  readonly kubeconfig: string;
}

/** What stands in for a cluster: an API server for secrets alone. */
export async function startCluster(directory: string): Promise<Cluster> {
  const home = join(directory, 'cluster');
  await mkdir(home, { recursive: true });
  const api = await KubeStandIn.start({ directory: home, users: [USER] });
  await api.grant(USER, { resources: ['secrets'], verbs: ['list', 'watch'] });
  const kubeconfig = join(directory, 'kubeconfig');
  await copyFile(api.kubeconfig(USER), kubeconfig);
  await chmod(kubeconfig, 0o400);
  await chown(kubeconfig, SYNCER_ID, SYNCER_ID);
  return { kubeconfig, [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}
