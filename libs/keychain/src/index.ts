export { BoundedMap } from './bounded-map.ts';
export { credentialChain, type ChainLink, type CredentialChain, type CredentialChainOptions } from './credential-chain.ts';
export { ANONYMOUS, basic, fingerprint, identityToken, registryToken, type Credential } from './credential.ts';
export { DockerConfigSource, dockerConfigPath, type DockerConfigOptions } from './docker-config.ts';
export { parsePullSecret, type AuthEntries, type PullSecretType } from './docker-config-file.ts';
export { KeychainError, type KeychainErrorCode } from './errors.ts';
export { ChangeListeners } from './change-listeners.ts';
export { decodeAuth, EntryError } from './docker-auth-entry.ts';
export { inDocumentedOrder } from './documented-order.ts';
export { firstOf } from './first-of.ts';
export { parseGoDuration } from './go-duration.ts';
export { helperEnvironment } from './helper-environment.ts';
export { runProcess, type ProcessLimits, type ProcessOutcome } from './helper-process.ts';
export { HUB_HOSTS, HUB_KEY, isHubHost, registryOf } from './hub.ts';
export { Keyring, type KeyringEntry } from './keyring.ts';
export { observed, type ObservedOptions } from './observed.ts';
export { plainWords } from './plain-words.ts';
export { PluginSource, type PluginSourceOptions } from './plugin-source.ts';
export { fileVersion, readBounded } from './read-bounded.ts';
export type { PullSecret } from './pull-secret.ts';
export {
  PullSecretSource,
  type Isolation,
  type ListScope,
  type PullSecretSourceOptions,
  type SecretList,
} from './pull-secret-source.ts';
export { Secret } from './secret.ts';
export { SingleFlight } from './single-flight.ts';
export {
  MAX_CANDIDATES,
  none,
  originOf,
  type Answer,
  type Candidate,
  type Candidates,
  type CredentialSource,
  type Lookup,
  type SourceChange,
} from './source.ts';
export { commandLineSource, parseUserFlag, StaticSource, type StaticSourceOptions } from './static-source.ts';
export { surveySources, type EntryReport, type SourceOutcome, type SourceReport } from './survey.ts';
export { readTrustedFile, UntrustedFileError, type TrustedFile } from './trusted-file.ts';
