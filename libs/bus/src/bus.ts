import type { Codec } from './codec.ts';

/** Names of services on a bus, which are those of their folders of keys. */
export type ServiceName = 'registry-fetcher' | 'cri-proxy' | 'secret-syncer';

/** What can be asked of a service. On a wire it is bytes, within one process the very objects. */
export interface Method<Q, A> {
  readonly service: ServiceName;
  /** Letters and hyphens. */
  readonly name: string;
  readonly request: Codec<Q>;
  readonly answer: Codec<A>;
  /** The messages are for the other side's eyes only, and bound to this. Left out: they go in plain. */
  readonly boundTo?: (request: Q) => BoundTo;
}

/** What a sealed request is about; its answer is about the same. */
export interface BoundTo {
  readonly reference: string;
  readonly host: string;
  readonly namespaces: readonly string[];
}

/** What a service tells whoever wants to know: in plain, and lost for those who are away. */
export interface Topic<E> {
  readonly service: ServiceName;
  readonly name: string;
  readonly event: Codec<E>;
}

/** Who asks. */
export interface Caller {
  readonly node: string;
  /** Fires when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

export type BusState =
  | { readonly kind: 'connected'; readonly sinceMs: number }
  | { readonly kind: 'away'; readonly sinceMs: number; readonly reason: string };

export interface RequestOptions {
  readonly timeoutMs?: number;
}

/** How services speak to each other. */
export interface Bus extends AsyncDisposable {
  /** Times are milliseconds of the wall clock. */
  readonly state: BusState;

  /** What is sent is what arrives, the same objects: both ends are in one process. */
  readonly passesObjects: boolean;

  onStateChange(listener: (state: BusState) => void): Disposable;

  /**
   * Asks a service of the same node, or the one that is there for all nodes.
   *
   * @throws {BusError}; the signal's reason
   */
  request<Q, A>(method: Method<Q, A>, request: Q, signal: AbortSignal, options?: RequestOptions): Promise<A>;

  /** Answers from now on, whether the bus is connected or not. What the handler throws is `FAILED` to the one who asks, without a word more. */
  serve<Q, A>(method: Method<Q, A>, handler: (request: Q, caller: Caller) => Promise<A> | A): Disposable;

  /** Tells all who listen now. */
  publish<E>(topic: Topic<E>, event: E): void;

  subscribe<E>(topic: Topic<E>, listener: (event: E) => void): Disposable;
}
