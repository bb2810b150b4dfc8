import { chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KubeStandIn } from '@soci/testing';

const USER = 'soci';
/** Who the secret-syncer is. */
const SYNCER_ID = 10_003;

export interface Cluster extends AsyncDisposable {
  /** What docker-compose.yml takes from the environment: a kubeconfig, the secret-syncer's own as it takes no other's, and that the registry-fetcher is to ask for secrets. */
  readonly env: Readonly<Record<string, string>>;
}

/** What stands in for a cluster: an API server for secrets alone. */
export async function startCluster(directory: string): Promise<Cluster> {
  const home = join(directory, 'cluster');
  await mkdir(home, { recursive: true });
  const api = await KubeStandIn.start({ directory: home, users: [USER] });
  await api.grant(USER, { resources: ['secrets'], verbs: ['list', 'watch'] });
  const kubeconfig = join(directory, 'kubeconfig');
  await writeFile(kubeconfig, await withAuthority(await readFile(api.kubeconfig(USER), 'utf8')), { mode: 0o400 });
  await chown(kubeconfig, SYNCER_ID, SYNCER_ID);
  const env = { KUBECONFIG_FILE: kubeconfig, REGISTRY_FETCHER_CONFIG: './deploy/compose/kubernetes/registry-fetcher.toml' };
  return { env, [Symbol.asyncDispose]: () => api[Symbol.asyncDispose]() };
}

/** The certificate itself in place of its path, which is not to be seen by the one who reads the file. */
async function withAuthority(text: string): Promise<string> {
  const [line = '', path] = /"certificate-authority":\s*"([^"]+)"/.exec(text) ?? [];
  if (path === undefined) throw new Error('a kubeconfig without a certificate authority');
  return text.replace(line, `"certificate-authority-data": "${(await readFile(path)).toString('base64')}"`);
}
