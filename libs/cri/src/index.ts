export { CriCredentials, type CriCredentialsOptions, type PullUnderWay } from './cri-credentials.ts';
export { CriError, type CriErrorCode } from './errors.ts';
export { toLogin, type AuthConfig, type Login } from './login.ts';
export { createImageServiceProxy, type ImageServiceProxy, type ImageServiceProxyOptions } from './image-service-proxy.ts';
export type { KeptPulls } from './kept-pulls.ts';
export { dropKeptPulls, openKeptPulls, type KeptPullsOptions, type MemoryKeeper } from './pull-memory.ts';
export type { UpstreamOptions } from './upstream.ts';
