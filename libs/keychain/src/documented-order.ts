/** One of each kind of source; those that a service does not have are left out. */
export interface ByKind<T> {
  readonly dockerConfig: T;
  readonly cri?: T | undefined;
  readonly kubernetesSecrets?: T | undefined;
  readonly credentialPlugins?: T | undefined;
}

/**
 * The order in which sources are asked: Docker's configuration, what pulls through the CRI brought, Kubernetes secrets, credential plugins. The order of the first three is what users
 * of the Go snapshotter are told, though its own program asks secrets before the CRI.
 */
export function inDocumentedOrder<T>({ dockerConfig, cri, kubernetesSecrets, credentialPlugins }: ByKind<T>): readonly T[] {
  return [dockerConfig, cri, kubernetesSecrets, credentialPlugins].filter((each) => each !== undefined);
}
