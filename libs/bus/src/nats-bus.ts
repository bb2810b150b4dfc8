import { join } from 'node:path';
import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';
import type { Metrics } from '@soci/metrics';
import { PermissionViolationError } from 'nats';
import type { Bus, BusState, Caller, Method, RequestOptions, ServiceName, Topic } from './bus.ts';
import { countBus, type BusCounters } from './bus-metrics.ts';
import { BusError } from './errors.ts';
import { KeyFolder } from './keys/key-folder.ts';
import { Listeners } from './listeners.ts';
import { NatsLink, type Link } from './nats-link.ts';
import { RefusalLog } from './refusals.ts';
import { Requester } from './requester.ts';
import { Responder } from './responder.ts';
import { eventSubject, SERVES_ALL_NODES } from './subjects.ts';

export interface ConnectBusOptions {
  /** `tls://HOST:PORT`, at least one. */
  readonly servers: readonly string[];
  /** Folder with one folder of keys a service. */
  readonly keysDir: string;
  /** Which service we are. */
  readonly service: ServiceName;
  readonly log: Logger;
  readonly metrics?: Metrics;
  readonly requestTimeoutMs?: number;
  readonly nowMs?: () => number;
}

const DEFAULT_TIMEOUT_MS = 2_000;
const MAX_EVENT_BYTES = 256 << 10;

/** A bus over NATS. It is there at once and connects behind, again and again for as long as it is open. */
export function connectBus(options: ConnectBusOptions): NatsBus {
  return new NatsBus(options);
}

interface Subscription {
  readonly topic: Topic<unknown>;
  readonly listener: (event: unknown) => void;
}

/** @see connectBus */
export class NatsBus implements Bus {
  readonly passesObjects = false;
  readonly #options: ConnectBusOptions;
  readonly #folder: KeyFolder;
  readonly #link: NatsLink;
  readonly #requester: Requester;
  readonly #responder: Responder;
  readonly #counters: BusCounters;
  readonly #states = new Listeners<BusState>();
  readonly #subscriptions = new Set<Subscription>();
  readonly #stop = new AbortController();
  readonly #toldFailures = new Set<string>();

  constructor(options: ConnectBusOptions) {
    const { servers, keysDir, service, log, metrics, nowMs = Date.now } = options;
    this.#options = options;
    this.#folder = new KeyFolder({ path: join(keysDir, service), service, log });
    this.#counters = countBus(metrics, () => this.state);
    const refusals = new RefusalLog(log, this.#counters);
    const link = (): Link | undefined => this.#link.current;
    this.#requester = new Requester({ link, refusals, nowMs });
    this.#responder = new Responder({ link, refusals, nowMs, onFailure: (method, error) => this.#tellFailure(method, error) });
    this.#link = new NatsLink({
      servers,
      folder: this.#folder,
      log,
      nowMs,
      onOpen: (opened) => this.#listen(opened),
      onError: (error) => this.#onError(error),
      onState: (state) => this.#states.tell(state),
    });
  }

  get state(): BusState {
    return this.#link.state;
  }

  onStateChange(listener: (state: BusState) => void): Disposable {
    return this.#states.add(listener);
  }

  async request<Q, A>(method: Method<Q, A>, request: Q, signal: AbortSignal, { timeoutMs }: RequestOptions = {}): Promise<A> {
    signal.throwIfAborted();
    if (this.#stop.signal.aborted) throw new BusError('CLOSED', 'the bus is closed');
    const limitMs = timeoutMs ?? this.#options.requestTimeoutMs ?? DEFAULT_TIMEOUT_MS;
    const deadline = AbortSignal.timeout(limitMs);
    const name = `${method.service}/${method.name}`;
    try {
      const until = AbortSignal.any([signal, deadline, this.#stop.signal]);
      const answer = await this.#askTwice(method, request, AbortSignal.timeout(limitMs / 2), until);
      this.#counters.request(name, 'ok');
      return answer;
    } catch (error) {
      const failure = toFailure(error);
      this.#counters.request(name, failure instanceof BusError ? failure.code : 'cancelled');
      throw failure;
    }

    function toFailure(error: unknown): unknown {
      if (error instanceof BusError || signal.aborted) return error;
      if (deadline.aborted) return new BusError('TIMED_OUT', `${name}: no answer in ${limitMs} ms`);
      return new BusError('CLOSED', `${name}: the bus is closed`);
    }
  }

  /** A message that is on its way while either side changes its connection is lost. A question has no effect, so it may be put once more. */
  async #askTwice<Q, A>(method: Method<Q, A>, request: Q, half: AbortSignal, until: AbortSignal): Promise<A> {
    try {
      return await this.#requester.request(method, request, AbortSignal.any([half, until]));
    } catch (error) {
      if (error !== half.reason || until.aborted) throw error;
      return await this.#requester.request(method, request, until);
    }
  }

  serve<Q, A>(method: Method<Q, A>, handler: (request: Q, caller: Caller) => Promise<A> | A): Disposable {
    return this.#responder.serve(method, handler);
  }

  publish<E>(topic: Topic<E>, event: E): void {
    const link = this.#link.current;
    if (link === undefined || link.connection.isClosed()) {
      this.#counters.lost('away');
      return;
    }
    const payload = topic.event.encode(event);
    if (payload.length > MAX_EVENT_BYTES)
      throw new BusError('TOO_LARGE', `${topic.service} ${topic.name}: event of ${payload.length} bytes`);
    link.connection.publish(eventSubject(topic.service, topic.name, link.keys.identity.node), payload);
  }

  subscribe<E>(topic: Topic<E>, listener: (event: E) => void): Disposable {
    const subscription = { topic, listener } as unknown as Subscription; // the codec and the listener are of one type, whichever
    this.#subscriptions.add(subscription);
    return { [Symbol.dispose]: () => void this.#subscriptions.delete(subscription) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stop.signal.aborted) return;
    await this.#link[Symbol.asyncDispose]();
    this.#stop.abort();
    this.#states.clear();
    this.#folder[Symbol.dispose]();
  }

  #listen(link: Link): void {
    const { identity, signing } = link.keys;
    void link.connection.closed().then(() => this.#requester.connectionLost(link.connection));
    this.#responder.listen(link);
    if (signing !== undefined) return; // one that answers neither asks nor listens
    this.#requester.listen(link);
    for (const service of ['cri-proxy', 'secret-syncer'] as const) {
      const subject = eventSubject(service, '*', SERVES_ALL_NODES[service] ? undefined : identity.node);
      link.connection.subscribe(subject, {
        callback: (error, message) => {
          if (error === null) this.#hear(service, message.subject, message.data);
        },
      });
    }
  }

  #hear(service: ServiceName, subject: string, data: Uint8Array): void {
    for (const { topic, listener } of this.#subscriptions) {
      if (topic.service !== service || !subject.endsWith(`.${topic.name}`)) continue;
      let event: unknown;
      try {
        if (data.length > MAX_EVENT_BYTES) throw new BusError('TOO_LARGE', subject);
        event = topic.event.decode(data);
      } catch {
        this.#counters.refused('UNREADABLE');
        continue;
      }
      listener(event);
    }
  }

  #onError(error: Error): void {
    if (!(error instanceof PermissionViolationError)) {
      this.#options.log.debug({ error }, 'bus: the server is not content');
      return;
    }
    this.#counters.lost('forbidden');
    this.#options.log.error({ operation: error.operation, subject: error.subject }, 'bus: not allowed by the server');
    if (error.operation === 'publish') this.#requester.forbidden(error.subject);
  }

  #tellFailure(method: string, error: unknown): void {
    this.#counters.refused('FAILED');
    if (this.#toldFailures.has(method)) return;
    this.#toldFailures.add(method);
    this.#options.log.error(
      { method, error: describeError(error) },
      'request on the bus could not be answered; more of the kind are only counted',
    );
  }
}
