import { EventEmitter, on } from 'node:events';
import { health } from '@soci/proto';
import { RpcError } from './errors.ts';
import { implement, type CallContext, type ServiceImplementation } from './handlers.ts';

const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = health.HealthCheckResponse_ServingStatus;
type ServingStatus = health.HealthCheckResponse_ServingStatus;

/** Many watchers are normal: each probe and each balancing client may be one. */
const MAX_WATCHERS = 256;

/**
 * gRPC health v1. The empty name stands for the server as a whole.
 * @see https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
export class Health {
  readonly #statuses = new Map<string, ServingStatus>();
  readonly #changes = new EventEmitter().setMaxListeners(MAX_WATCHERS);
  readonly #closed = new AbortController();
  #watchers = 0;

  constructor(services: readonly string[]) {
    for (const name of ['', ...services]) this.#statuses.set(name, SERVING);
  }

  /** Says whether a service can be asked; watchers learn of it at once. */
  set(service: string, isServing: boolean): void {
    this.#statuses.set(service, isServing ? SERVING : NOT_SERVING);
    this.#changes.emit('change');
  }

  /** Says that nothing can be asked any more and ends the watches: otherwise their calls would keep the server from stopping. */
  close(): void {
    for (const name of this.#statuses.keys()) this.#statuses.set(name, NOT_SERVING);
    this.#changes.emit('change');
    this.#closed.abort();
  }

  implementation(): ServiceImplementation {
    return implement(health.HealthService, {
      check: ({ service }) => Promise.resolve({ status: this.#known(service) }),
      watch: ({ service }, call) => this.#watch(service, call),
    });
  }

  #known(service: string): ServingStatus {
    const status = this.#statuses.get(service);
    if (status === undefined) throw new RpcError('NOT_FOUND', `no service ${JSON.stringify(service)}`);
    return status;
  }

  async *#watch(service: string, { signal }: CallContext): AsyncGenerator<health.HealthCheckResponse> {
    if (this.#watchers >= MAX_WATCHERS) throw new RpcError('RESOURCE_EXHAUSTED', `more than ${MAX_WATCHERS} health watches`);
    this.#watchers++;
    try {
      const ended = AbortSignal.any([signal, this.#closed.signal]);
      const changes = on(this.#changes, 'change', { signal: ended });
      let last = this.#statuses.get(service) ?? SERVICE_UNKNOWN;
      yield { status: last };
      while ((await changes.next()).done !== true) {
        const status = this.#statuses.get(service) ?? SERVICE_UNKNOWN;
        if (status !== last) yield { status };
        last = status;
      }
    } catch (error) {
      if (!this.#closed.signal.aborted) throw error;
      throw new RpcError('UNAVAILABLE', 'server is stopping', { cause: error });
    } finally {
      this.#watchers--;
    }
  }
}
