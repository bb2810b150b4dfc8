export { Authenticator, type AuthenticatorOptions, type Authorization, type Errand, type Tried } from './authenticator.ts';
export type { BlobRange } from './blob-range.ts';
export {
  byPreference,
  chooseChallenge,
  parseChallenges,
  type BasicChallenge,
  type BearerChallenge,
  type Challenge,
  type UsableChallenge,
} from './challenge.ts';
export { SYSTEM_CLOCK, type Clock } from './clock.ts';
export { Connection, type ClientCertificate, type ConnectionOptions } from './connection.ts';
export { createRegistryHosts, type CreateRegistryHostsOptions, type MirrorConfig } from './create-registry-hosts.ts';
export { RegistryError, type RegistryErrorCode } from './errors.ts';
export { DEFAULT_HTTP_OPTIONS, type HttpOptions } from './http-options.ts';
export { expiredLoginChallenge } from './judge.ts';
export type { FetchedManifest } from './manifests.ts';
export { proxyFromEnv, ProxyRules, type ProxyOptions } from './proxy.ts';
export type { BlobSource } from './push-blob.ts';
export { isPlainHttpByDefault, RegistryClient, type RegistryClientOptions, type RegistryReader } from './registry-client.ts';
export { RegistryHost, type Capability, type RegistryHostOptions, type RegistryHosts } from './registry-host.ts';
export { RetryingSender } from './retry.ts';
export { cleanScopes } from './scopes.ts';
export { TokenExchange, type TokenExchangeOptions, type TokenWish } from './token-exchange.ts';
export type { Token } from './token-answer.ts';
export type { HttpRequest, HttpResponse, ResponseBody, Transport } from './transport.ts';
export type { HostStats } from './undici-transport.ts';
