export { type CredentialsReport, type SourceReport, type Verdict } from './credentials-report.ts';
export { StatusError, type StatusErrorCode } from './errors.ts';
export { openStatus, type CredentialsRequest, type StatusClient } from './open-status.ts';
export { serveAdmin, type ServeAdminOptions } from './serve-admin.ts';
export { statusService, type StatusServiceOptions } from './status-service.ts';
