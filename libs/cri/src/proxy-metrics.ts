import type { Metrics } from '@soci/metrics';
import { Counter, Gauge, Histogram } from 'prom-client';
import type { CriCredentials } from './cri-credentials.ts';

/** What a label may say: anybody can make up a method's name. */
const METHODS = new Set(['ListImages', 'ImageStatus', 'PullImage', 'RemoveImage', 'ImageFsInfo', 'StreamImages']);
const OTHER = 'other';
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5, 30, 120, 600];

export interface ProxyMetrics {
  called(method: string, code: number, seconds: number): void;
}

export const NO_METRICS: ProxyMetrics = { called: () => undefined };

export function registerProxyMetrics(metrics: Metrics, credentials: CriCredentials): ProxyMetrics {
  const calls = new Counter({
    name: 'soci_cri_proxy_calls_total',
    help: 'Calls of the image service that were passed on, by method and gRPC status code.',
    labelNames: ['method', 'code'],
    registers: [metrics],
  });
  const duration = new Histogram({
    name: 'soci_cri_proxy_call_seconds',
    help: 'Time from a call of the image service to its status, containerd included.',
    labelNames: ['method'],
    buckets: SECONDS,
    registers: [metrics],
  });
  new Gauge({
    name: 'soci_cri_credentials',
    help: 'Logins of pulls through the image service that are kept in memory.',
    registers: [metrics],
    collect() {
      this.set(credentials.size);
    },
  });
  return {
    called(name, code, seconds) {
      const method = METHODS.has(name) ? name : OTHER;
      calls.inc({ method, code });
      duration.observe({ method }, seconds);
    },
  };
}
