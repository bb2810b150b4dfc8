export { busCondition } from './bus-condition.ts';
export { type CredentialsReport, type SourceReport, type Verdict } from './credentials-report.ts';
export { describeService, type ServiceFacts } from './describe-service.ts';
export { StatusError, type StatusErrorCode } from './errors.ts';
export { registerHealthMetrics } from './health-metrics.ts';
export { type HealthCheck, type HealthCondition, type HealthFinding, type HealthReport } from './health-report.ts';
export { healthRoutes } from './health-routes.ts';
export { openStatus, type CredentialsRequest, type StatusClient } from './open-status.ts';
export { plainText } from './plain-text.ts';
export { RecentTroubles, type Trouble } from './recent-troubles.ts';
export { serveAdmin, type ServeAdminOptions } from './serve-admin.ts';
export { serveServiceMetrics, type ServeServiceMetricsOptions } from './serve-service-metrics.ts';
export { ServiceHealth, type HealthCounts, type ServiceHealthOptions } from './service-health.ts';
export {
  type LayerCounts,
  type NotRestored,
  type RestoreState,
  type Restarts,
  type ServingMode,
  type SnapshotterState,
  type SnapshotterView,
} from './snapshotter-view.ts';
export { SnapshotterWatch } from './snapshotter-watch.ts';
export { type SnapshotterReport, type SocketReport, type SourceCondition, type StatusReport } from './status-report.ts';
export { statusService, type StatusServiceOptions } from './status-service.ts';
