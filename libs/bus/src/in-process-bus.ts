import type { Bus, BusState, Caller, Method, RequestOptions, Topic } from './bus.ts';
import { BusError } from './errors.ts';
import { Listeners } from './listeners.ts';

const DEFAULT_TIMEOUT_MS = 2_000;
const MAX_UNDER_WAY = 1_024;
const NODE = 'local';

export interface InProcessBusOptions {
  readonly requestTimeoutMs?: number;
  readonly nowMs?: () => number;
}

type Handler = (request: unknown, caller: Caller) => unknown;

/** A bus for services in one process: the objects themselves go from one to the other, a secret too. */
export class InProcessBus implements Bus {
  readonly passesObjects = true;
  readonly #timeoutMs: number;
  readonly #state: BusState;
  readonly #handlers = new Map<string, Handler>();
  readonly #topics = new Map<string, Listeners<unknown>>();
  readonly #stop = new AbortController();
  #underWay = 0;

  constructor({ requestTimeoutMs = DEFAULT_TIMEOUT_MS, nowMs = Date.now }: InProcessBusOptions = {}) {
    this.#timeoutMs = requestTimeoutMs;
    this.#state = { kind: 'connected', sinceMs: nowMs() };
  }

  get state(): BusState {
    return this.#state;
  }

  /** It never does change. */
  onStateChange(): Disposable {
    return { [Symbol.dispose]: () => undefined };
  }

  async request<Q, A>(
    method: Method<Q, A>,
    request: Q,
    signal: AbortSignal,
    { timeoutMs = this.#timeoutMs }: RequestOptions = {},
  ): Promise<A> {
    signal.throwIfAborted();
    const name = nameOf(method);
    if (this.#stop.signal.aborted) throw new BusError('CLOSED', `${name}: the bus is closed`);
    const handler = this.#handlers.get(name);
    if (handler === undefined) throw new BusError('NO_RESPONDER', `${name}: nobody answers there`);
    if (this.#underWay >= MAX_UNDER_WAY) throw new BusError('BUSY', `${name}: ${MAX_UNDER_WAY} requests are under way`);
    const deadline = AbortSignal.timeout(timeoutMs);
    const over = AbortSignal.any([signal, deadline, this.#stop.signal]);
    const { promise: left, reject } = Promise.withResolvers<never>();
    const leave = (): void => {
      if (signal.aborted) reject(signal.reason);
      else if (deadline.aborted) reject(new BusError('TIMED_OUT', `${name}: no answer in ${timeoutMs} ms`));
      else reject(new BusError('CLOSED', `${name}: the bus is closed`));
    };
    over.addEventListener('abort', leave, { once: true });
    this.#underWay++;
    try {
      const answer = Promise.try(handler, request, { node: NODE, signal: over }).catch((cause: unknown) => {
        throw new BusError('FAILED', `${name}: FAILED`, { cause });
      });
      return (await Promise.race([answer, left])) as A; // of the method's own handler
    } finally {
      this.#underWay--;
      over.removeEventListener('abort', leave);
    }
  }

  serve<Q, A>(method: Method<Q, A>, handler: (request: Q, caller: Caller) => Promise<A> | A): Disposable {
    const name = nameOf(method);
    const own = handler as Handler;
    this.#handlers.set(name, own);
    return {
      [Symbol.dispose]: () => {
        if (this.#handlers.get(name) === own) this.#handlers.delete(name);
      },
    };
  }

  /** Listeners hear it after the caller has gone on, as they do on a wire. */
  publish<E>(topic: Topic<E>, event: E): void {
    queueMicrotask(() => this.#topics.get(nameOf(topic))?.tell(event));
  }

  subscribe<E>(topic: Topic<E>, listener: (event: E) => void): Disposable {
    const name = nameOf(topic);
    const listeners = this.#topics.get(name) ?? new Listeners<unknown>();
    this.#topics.set(name, listeners);
    return listeners.add(listener as (event: unknown) => void);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#handlers.clear();
    this.#topics.clear();
    return Promise.resolve();
  }
}

function nameOf({ service, name }: Pick<Topic<unknown>, 'service' | 'name'>): string {
  return `${service}/${name}`;
}
