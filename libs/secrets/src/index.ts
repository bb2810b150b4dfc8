export { SecretsError, type SecretsErrorCode } from './errors.ts';
export { SecretsSync, type SecretsState, type SecretsSyncOptions } from './secrets-sync.ts';
export { DEFAULT_TIMINGS, type SyncTimings } from './timings.ts';
