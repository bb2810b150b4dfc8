export { BusCredentialSource, type BusCredentialSourceOptions } from './bus-credential-source.ts';
export type { ServiceState } from './change-log.ts';
export { LookupError, type LookupErrorCode } from './errors.ts';
export { RemoteNamespaces, type RemoteNamespacesOptions } from './remote-namespaces.ts';
export { serveLookups, type ServeLookupsOptions } from './serve-lookups.ts';
