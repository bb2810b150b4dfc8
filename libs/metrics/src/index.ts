export { createMetrics, type Metrics } from './metrics.ts';
export { serveMetrics, type MetricsServer, type RouteAnswer, type Routes, type ServeMetricsOptions } from './serve-metrics.ts';
