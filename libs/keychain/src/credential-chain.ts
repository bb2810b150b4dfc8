import type { SnapshotterConfig } from '@soci/config';
import type { Logger } from '@soci/log';
import type { Metrics } from '@soci/metrics';
import { DockerConfigSource, dockerConfigPath } from './docker-config.ts';
import { inDocumentedOrder } from './documented-order.ts';
import { firstOf } from './first-of.ts';
import { observed } from './observed.ts';
import { PluginSource } from './plugin-source.ts';
import type { CredentialSource } from './source.ts';

export interface CredentialChainOptions {
  readonly config: Pick<SnapshotterConfig, 'criKeychain' | 'kubeconfigKeychain' | 'credentialPlugins'>;
  /** Of the service: `HOME`, `DOCKER_CONFIG`, `DOCKER_AUTH_CONFIG`, and all that helpers and plugins get. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  readonly metrics?: Metrics;
  /** Credentials of pulls through the image service, where this process sees them. */
  readonly cri?: CredentialSource;
  /** Pull secrets of a Kubernetes cluster, where this process follows them. */
  readonly secrets?: CredentialSource;
}

/** A source of the chain, or the place of one that is not asked, and why. */
export type ChainLink = { readonly source: CredentialSource } | { readonly name: string; readonly off: string };

export interface CredentialChain {
  /** All there can be, in the order in which they are asked. */
  readonly links: readonly ChainLink[];
  /** Asks them, until one has an answer; each look-up is logged and counted. */
  readonly source: CredentialSource;
}

/**
 * The sources as config.toml switches them on, in the documented order; Docker's configuration is always on.
 * @throws {KeychainError} `CONFIG_INVALID` when the folder of plugins is not named by an absolute path
 */
export function credentialChain({ config, env, log, metrics, cri, secrets }: CredentialChainOptions): CredentialChain {
  const { criKeychain, kubeconfigKeychain, credentialPlugins } = config;
  const links = inDocumentedOrder<ChainLink>({
    dockerConfig: { source: new DockerConfigSource({ path: dockerConfigPath(env), env, log }) },
    cri: fedLink('cri', cri, '[cri_keychain] enable_keychain', criKeychain.enableKeychain),
    kubernetesSecrets: fedLink('kubernetes-secrets', secrets, '[kubeconfig_keychain] enable_keychain', kubeconfigKeychain.enableKeychain),
    credentialPlugins:
      credentialPlugins.configPath === ''
        ? { name: 'credential-plugins', off: '[credential_plugins] config_path is not set' }
        : { source: new PluginSource({ ...credentialPlugins, env, log }) },
  });
  const sources = links.flatMap((link) => ('source' in link ? [link.source] : []));
  return { links, source: firstOf(sources.map((source) => observed(source, { log, ...(metrics && { metrics }) }))) };
}

/** A source that something else in the process fills. */
function fedLink(name: string, source: CredentialSource | undefined, setting: string, isEnabled: boolean): ChainLink {
  if (source !== undefined) return { source };
  return { name, off: isEnabled ? `${setting} is true, but this process has no part that does it` : `${setting} is false` };
}
