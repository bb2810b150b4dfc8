import { CriCredentials, createImageServiceProxy, dropKeptPulls, openKeptPulls, type ImageServiceProxy } from '@soci/cri';
import type { KeeperLink } from '@soci/fuse';
import type { Metrics } from '@soci/metrics';
import type { ServiceContext } from '@soci/process';

export interface ImageServiceOptions {
  readonly context: ServiceContext;
  readonly metrics: Metrics;
  /** Who holds what pulls brought while this process is started again. */
  readonly keeper: KeeperLink | undefined;
  /** Whether something that is there was pulled under this name. */
  readonly isInUse: (reference: string) => boolean;
}

export interface ImageService {
  readonly credentials: CriCredentials;
  readonly proxy: ImageServiceProxy;
}

/**
 * CRI's image service as the configuration switches it on: pulls go on to containerd, and their credentials stay here.
 * @param resources what is opened ends with them
 */
export async function openImageService(
  { context: { config, log }, metrics, keeper, isInUse }: ImageServiceOptions,
  resources: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<ImageService | undefined> {
  const { enableKeychain, imageServicePath } = config.criKeychain;
  if (!enableKeychain) {
    if (keeper !== undefined) dropKeptPulls(keeper);
    return undefined;
  }
  const kept = keeper && (await openKeptPulls({ keeper, log, signal }));
  const { isolation } = config.credentials;
  const credentials = resources.use(new CriCredentials({ isolation, isInUse, ...(kept && { kept }) }));
  const proxy = resources.use(createImageServiceProxy({ upstream: { path: imageServicePath }, credentials, log, metrics }));
  return { credentials, proxy };
}
