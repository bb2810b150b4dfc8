import type { Logger } from '@soci/log';
import type { Metrics } from '@soci/metrics';
import type { PassThrough } from '@soci/rpc';
import type { CriCredentials, PullUnderWay } from './cri-credentials.ts';
import { ForwardedCall, type CallObserver } from './forwarded-call.ts';
import { STATUS } from './grpc-status.ts';
import { readPullRequest, readPullResponse, readRemoveRequest } from './image-messages.ts';
import { toLogin, type Login } from './login.ts';
import { NO_METRICS, registerProxyMetrics, type ProxyMetrics } from './proxy-metrics.ts';
import { Upstream, type UpstreamOptions } from './upstream.ts';

export interface ImageServiceProxyOptions {
  readonly upstream: UpstreamOptions;
  /** Filled with what pulls bring. Its owner disposes of it. */
  readonly credentials: CriCredentials;
  readonly log: Logger;
  readonly metrics?: Metrics;
}

/** Serves CRI's image service by asking another one; for `passThrough` of `serveGrpc`. Disposing of it ends the calls under way. */
export interface ImageServiceProxy extends PassThrough, Disposable {}

const SERVICE = /^\/runtime\.(?:v1|v1alpha2)\.ImageService\/(.*)$/;

/**
 * Passes every method of `runtime.v1.ImageService` and `runtime.v1alpha2.ImageService` through, known or not: bytes, metadata, deadline, cancellation, trailers. On the
 * side it learns from PullImage who may read which image, and from RemoveImage when that is over. Nothing of the runtime service goes through.
 */
export function createImageServiceProxy({ upstream, credentials, log, metrics }: ImageServiceProxyOptions): ImageServiceProxy {
  const connection = new Upstream(upstream, log);
  const series = metrics === undefined ? NO_METRICS : registerProxyMetrics(metrics, credentials);
  return {
    matches: (path) => SERVICE.test(path),
    handle(stream, headers, rawHeaders) {
      const method = SERVICE.exec(headers[':path'] ?? '')?.[1] ?? '';
      const observer = timed(observerOf(method, credentials, log), method, series);
      new ForwardedCall({ stream, headers, rawHeaders }, observer).start(connection);
    },
    [Symbol.dispose]: () => connection[Symbol.dispose](),
  };
}

function observerOf(method: string, credentials: CriCredentials, log: Logger): CallObserver {
  if (method === 'PullImage') return new PullObserver(credentials, log);
  if (method === 'RemoveImage') return new RemovalObserver(credentials, log);
  return { ended: () => undefined };
}

function timed(observer: CallObserver, method: string, metrics: ProxyMetrics): CallObserver {
  const startedMs = performance.now();
  return {
    ...(observer.request && { request: (message) => observer.request?.(message) }),
    ...(observer.response && { response: (message) => observer.response?.(message) }),
    ended(code) {
      observer.ended(code);
      metrics.called(method, code, (performance.now() - startedMs) / 1000);
    },
  };
}

class PullObserver implements CallObserver {
  readonly #credentials: CriCredentials;
  readonly #log: Logger;
  readonly #startedMs = performance.now();
  #pull: PullUnderWay | undefined;
  #facts: object = {};
  #imageId = '';

  constructor(credentials: CriCredentials, log: Logger) {
    this.#credentials = credentials;
    this.#log = log;
  }

  request(message: Uint8Array): void {
    const request = read(readPullRequest, message, this.#log);
    if (request === undefined) return;
    const login = toLogin(request.auth);
    this.#facts = { ref: request.image, namespace: request.namespace, ...describe(login) };
    this.#pull = this.#credentials.pullStarted(request.image, request.namespace, login);
  }

  response(message: Uint8Array): void {
    this.#imageId = read(readPullResponse, message, this.#log) ?? '';
  }

  ended(code: number): void {
    const durationMs = Math.round(performance.now() - this.#startedMs);
    if (code === STATUS.ok) this.#pull?.succeeded(this.#imageId);
    else this.#pull?.failed();
    const facts = { ...this.#facts, imageId: this.#imageId, code, durationMs };
    // What containerd says of a failure may quote addresses that are secrets; its caller gets that, a log does not.
    if (code === STATUS.ok) this.#log.info(facts, 'image was pulled through the image service');
    else this.#log.warn(facts, 'pull through the image service did not succeed');
  }
}

class RemovalObserver implements CallObserver {
  readonly #credentials: CriCredentials;
  readonly #log: Logger;
  #image: string | undefined;

  constructor(credentials: CriCredentials, log: Logger) {
    this.#credentials = credentials;
    this.#log = log;
  }

  request(message: Uint8Array): void {
    this.#image = read(readRemoveRequest, message, this.#log);
  }

  ended(code: number): void {
    if (code !== STATUS.ok || this.#image === undefined) return;
    this.#credentials.imageRemoved(this.#image);
    this.#log.debug({ ref: this.#image }, 'image was removed through the image service');
  }
}

function describe(login: Login): { readonly credential: string; readonly reason?: string } {
  switch (login.kind) {
    case 'none':
      return { credential: 'none' };
    case 'broken':
      return { credential: 'unusable', reason: login.reason };
    case 'credential':
      return { credential: login.credential.kind };
  }
}

/** What cannot be read goes through all the same: it is containerd's to refuse. */
function read<T>(reader: (message: Uint8Array) => T, message: Uint8Array, log: Logger): T | undefined {
  try {
    return reader(message);
  } catch (error) {
    log.debug({ error }, 'message of the image service not understood');
    return undefined;
  }
}
