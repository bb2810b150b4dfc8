import { mkdir } from 'node:fs/promises';
import { KubeApi, KubeStandIn, missingKubePrograms } from '@soci/testing';

/** What end-to-end tests ask of an API server. */
export type Kube = AsyncDisposable &
  Pick<
    KubeApi,
    | 'kubeconfig'
    | 'token'
    | 'grant'
    | 'revoke'
    | 'request'
    | 'putPullSecret'
    | 'createNamespace'
    | 'stop'
    | 'startAgain'
    | 'startEmpty'
    | 'url'
  >;

/** The user whose kubeconfig the snapshotter is given. */
export const SYNC_USER = 'soci-secrets';

/** An API server that lets the snapshotter list and watch secrets in all namespaces: a real one where its programs are, a stand-in elsewhere. */
export async function startKube(directory: string): Promise<Kube> {
  await mkdir(directory, { recursive: true });
  const kube =
    missingKubePrograms() === undefined
      ? await KubeApi.start({ directory, users: [SYNC_USER] })
      : await KubeStandIn.start({ directory, users: [SYNC_USER] });
  await kube.grant(SYNC_USER, { resources: ['secrets'], verbs: ['list', 'watch'] });
  return kube;
}

/** Lines of config.toml that turn the source on. */
export function secretsConfig(kubeconfig: string): string {
  return `[kubeconfig_keychain]\nenable_keychain = true\nkubeconfig_path = ${JSON.stringify(kubeconfig)}\n`;
}
