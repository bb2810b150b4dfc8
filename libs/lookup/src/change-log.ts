import { BusError, type Bus } from '@soci/bus';
import { describeError } from '@soci/errors';
import { BoundedMap } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { pause } from '@soci/process';
import type { credentials } from '@soci/proto';
import { toPosition } from './messages.ts';
import { changedTopic, stateMethod, type LookupService, type Position } from './methods.ts';

/** How a service that is asked for credentials is doing. */
export type ServiceState =
  | { readonly kind: 'ready'; readonly sinceMs: number }
  | { readonly kind: 'not-ready'; readonly sinceMs: number; readonly reason: string } // it is there, and knows nothing yet
  | { readonly kind: 'away'; readonly sinceMs: number; readonly reason: string };

export interface ChangeLogOptions {
  readonly bus: Bus;
  readonly service: LookupService;
  readonly log: Logger;
  readonly nowMs: () => number;
  /** Something has changed. */
  readonly onChange: (event: credentials.SourceChanged) => void;
  /** The service can be asked again, or says that it is there: a look-up that waits may be made again. */
  readonly onMayBeBetter: () => void;
  /** Changes were missed. Called until it returns true. */
  readonly onMissed: (isNewInstance: boolean, signal: AbortSignal) => Promise<boolean>;
}

const LOOK_EACH_MS = 10_000;
const LOOK_EACH_WHEN_AWAY_MS = 500;
const MAX_WITHDRAWN = 4_096;

/** Follows what a service tells of changes. Each has a number: it shows where one is missing, after an outage or a restart of either side. */
export class ChangeLog implements AsyncDisposable {
  readonly #options: ChangeLogOptions;
  readonly #subscriptions = new DisposableStack();
  readonly #stop = new AbortController();
  /** By id: number of the change that took it away. */
  readonly #withdrawn = new BoundedMap<string, number>(MAX_WITHDRAWN);
  readonly #running: Promise<void>;
  #position: Position | undefined;
  #missed: 'nothing' | 'changes' | 'a restart' = 'nothing';
  #hasReconnected = false;
  #state: ServiceState;
  #wake = new AbortController();

  constructor(options: ChangeLogOptions) {
    this.#options = options;
    const { bus, service, nowMs } = options;
    this.#state = { kind: 'away', sinceMs: nowMs(), reason: 'not asked yet' };
    this.#subscriptions.use(bus.subscribe(changedTopic(service), (event) => this.#hear(event)));
    this.#subscriptions.use(
      bus.onStateChange(({ kind }) => {
        if (kind === 'connected') this.#hasReconnected = true;
        this.#lookNow();
      }),
    );
    this.#running = this.#run();
  }

  get state(): ServiceState {
    return this.#state;
  }

  /** Whether nothing was told after an answer was made. */
  isLatest({ instance, sequence }: Position): boolean {
    return this.#missed === 'nothing' && this.#position?.instance === instance && this.#position.sequence <= sequence;
  }

  /** Whether an answer holds what was taken back after it was made. */
  hasWithdrawnSince({ instance, sequence }: Position, ids: readonly string[]): boolean {
    return this.#position?.instance === instance && ids.some((id) => (this.#withdrawn.get(id) ?? 0) > sequence);
  }

  /** An answer shows where the service stands. */
  noteReply({ instance }: Position): void {
    if (this.#position !== undefined && this.#position.instance !== instance) this.#lookNow();
  }

  /** A look-up found nobody. */
  noteNobody(): void {
    if (this.#state.kind !== 'away') this.#lookNow();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#lookNow();
    this.#subscriptions[Symbol.dispose]();
    await this.#running;
  }

  #hear(event: credentials.SourceChanged): void {
    let told: Position;
    try {
      told = toPosition(event.position);
    } catch (error) {
      this.#options.log.debug({ error }, 'event on the bus cannot be read');
      return;
    }
    const before = this.#position;
    const isGreeting = !event.anyHost && event.hosts.length === 0 && event.withdrawn.length === 0;
    if (isGreeting || before === undefined || before.instance !== told.instance) {
      this.#lookNow(); // it asks, and finds out what was missed
      return;
    }
    if (told.sequence <= before.sequence) return; // heard already
    if (told.sequence > before.sequence + 1) {
      this.#miss('changes');
      this.#lookNow();
    }
    this.#position = told;
    for (const id of event.withdrawn) this.#withdrawn.set(id, told.sequence);
    this.#options.onChange(event);
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      await this.#look(signal);
      if (this.#missed !== 'nothing' && this.#state.kind !== 'away') await this.#catchUp(signal);
      const isSettled = this.#state.kind === 'ready' && this.#missed === 'nothing';
      const pauseMs = isSettled ? LOOK_EACH_MS : LOOK_EACH_WHEN_AWAY_MS;
      await pause(pauseMs, this.#wake.signal);
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { bus, service } = this.#options;
    try {
      const { position, ready, reason } = await bus.request(stateMethod(service), {}, signal);
      const now = toPosition(position);
      const before = this.#position;
      if (before !== undefined && before.instance !== now.instance) this.#miss('a restart');
      else if (before !== undefined && now.sequence > before.sequence) this.#miss('changes');
      if (before?.instance !== now.instance) this.#withdrawn.clear();
      if (before?.instance !== now.instance || now.sequence > before.sequence) this.#position = now;
      this.#become(ready ? 'ready' : 'not-ready', reason);
    } catch (error) {
      if (signal.aborted) return;
      const isAway = error instanceof BusError && error.code === 'AWAY';
      this.#become('away', isAway ? 'the bus is away' : `${service}: ${describeError(error)}`);
    }
  }

  async #catchUp(signal: AbortSignal): Promise<void> {
    const missed = this.#missed;
    this.#missed = 'nothing'; // what is missed while it runs counts anew
    const isDone = await this.#options.onMissed(missed === 'a restart', signal);
    if (isDone) this.#options.onMayBeBetter();
    else this.#miss(missed);
  }

  #miss(what: 'nothing' | 'changes' | 'a restart'): void {
    if (this.#missed !== 'a restart') this.#missed = what;
  }

  #become(kind: ServiceState['kind'], reason: string): void {
    const before = this.#state;
    const { log, service, nowMs } = this.#options;
    const sinceMs = before.kind === kind ? before.sinceMs : nowMs();
    this.#state = kind === 'ready' ? { kind, sinceMs } : { kind, sinceMs, reason };
    const isAnew = this.#hasReconnected && kind !== 'away'; // an outage may be over before anybody has noticed it
    if (isAnew) this.#hasReconnected = false;
    if (isAnew && before.kind === kind) this.#options.onMayBeBetter();
    if (before.kind === kind) return;
    if (kind === 'ready') log.info({ service }, 'credentials can be asked for');
    else log.warn({ service, reason }, 'credentials cannot be asked for at present');
    if (before.kind === 'away' || kind === 'ready') this.#options.onMayBeBetter();
  }

  #lookNow(): void {
    this.#wake.abort();
  }
}
