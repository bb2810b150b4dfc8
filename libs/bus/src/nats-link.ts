import { setTimeout as sleep } from 'node:timers/promises';
import { encode } from '@nats-io/nkeys';
import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';
import { BackOff, pause } from '@soci/process';
import { connect, type Auth, type NatsConnection } from 'nats';
import type { BusState } from './bus.ts';
import type { KeyFolder, Keys } from './keys/key-folder.ts';
import { inboxPrefix } from './subjects.ts';

export interface NatsLinkOptions {
  readonly servers: readonly string[];
  readonly folder: KeyFolder;
  readonly log: Logger;
  /** Subscribes to what is to be heard. */
  readonly onOpen: (link: Link) => void;
  /** A server said that something is not allowed, or a message went wrong. */
  readonly onError: (error: Error) => void;
  readonly onState: (state: BusState) => void;
  readonly nowMs: () => number;
}

/** One connection to a server, and who we are on it. */
export interface Link {
  readonly connection: NatsConnection;
  /** The newest ones; the login is the connection's. */
  readonly keys: Keys;
}

interface OpenLink extends Link {
  keys: Keys;
}

const DIAL_TIMEOUT_MS = 5_000;
const BACK_OFF = { firstMs: 50, maxMs: 2_000 };
/** One that lasted for this long was a good one. */
const GOOD_AFTER_MS = 5_000;
const PING_MS = 5_000;
const MAX_PINGS_UNANSWERED = 2;
const LOOK_AT_KEYS_MS = 2_000;
const DRAIN_MS = 2_000;

/**
 * Keeps a connection, for ever: each attempt reads the keys anew, and a login that was changed gets a new connection before the old one is given up.
 * The client's own reconnecting is not used: it keeps what was sent meanwhile, and gives up on a login that is refused.
 */
export class NatsLink implements AsyncDisposable {
  readonly #options: NatsLinkOptions;
  readonly #stop = new AbortController();
  readonly #backOff = new BackOff(BACK_OFF);
  readonly #running: Promise<void>;
  #link: Link | undefined;
  #state: BusState;
  #told = '';

  constructor(options: NatsLinkOptions) {
    this.#options = options;
    this.#state = { kind: 'away', sinceMs: options.nowMs(), reason: 'not connected yet' };
    this.#running = this.#run();
  }

  get state(): BusState {
    return this.#state;
  }

  /** Undefined while there is none. */
  get current(): Link | undefined {
    return this.#link;
  }

  /** What was sent goes out first, and what is being answered is. */
  async [Symbol.asyncDispose](): Promise<void> {
    const link = this.#link;
    this.#link = undefined;
    this.#stop.abort();
    if (link !== undefined) await giveUp(link.connection);
    await this.#running;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    while (!this.#isStopped()) {
      const previous = this.#link;
      let next: OpenLink;
      try {
        next = await this.#open();
      } catch (error) {
        if (previous === undefined || previous.connection.isClosed()) this.#lost(error);
        await this.#pause();
        continue;
      }
      if (this.#isStopped()) {
        await giveUp(next.connection);
        return;
      }
      this.#link = next;
      this.#found();
      if (previous !== undefined) void giveUp(previous.connection);
      const openedMs = performance.now();
      const end = await this.#endOf(next);
      if (this.#isStopped()) return;
      if (performance.now() - openedMs > GOOD_AFTER_MS) this.#backOff.reset();
      if (end === 'other-login') continue;
      this.#lost(end);
      await this.#pause();
    }
  }

  #isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  async #open(): Promise<OpenLink> {
    const { servers, folder, onOpen, onError } = this.#options;
    const keys = await folder.read();
    const { identity, login, authorities } = keys;
    const authenticator = (nonce?: string): Auth => ({
      nkey: login.getPublicKey(),
      sig: encode(login.sign(new TextEncoder().encode(nonce))),
    });
    const connection = await connect({
      servers: servers.map((server) => server.replace(/^tls:\/\//, '')),
      name: [identity.service, identity.node].join('@'),
      tls: { ca: authorities },
      authenticator,
      inboxPrefix: inboxPrefix(identity),
      timeout: DIAL_TIMEOUT_MS,
      reconnect: false,
      pingInterval: PING_MS,
      maxPingOut: MAX_PINGS_UNANSWERED,
      ignoreClusterUpdates: true,
      noAsyncTraces: true,
    });
    const link = { connection, keys };
    void this.#watch(connection, onError);
    onOpen(link);
    try {
      await connection.flush(); // the server has all subscriptions
    } catch (error) {
      await connection.close();
      throw error;
    }
    return link;
  }

  async #watch(connection: NatsConnection, onError: (error: Error) => void): Promise<void> {
    for await (const status of connection.status()) if (status.type === 'error') onError(status.error);
  }

  /** Why it is no good any more. */
  async #endOf(link: OpenLink): Promise<unknown> {
    const over = new AbortController();
    const closed = link.connection.closed().then((reason) => reason ?? new Error('the connection was closed'));
    try {
      return await Promise.race([closed, this.#otherLogin(link, over.signal)]);
    } finally {
      over.abort();
    }
  }

  async #otherLogin(link: OpenLink, over: AbortSignal): Promise<'other-login'> {
    const signal = AbortSignal.any([over, this.#stop.signal]);
    for (;;) {
      if (!(await pause(LOOK_AT_KEYS_MS, signal))) return await new Promise<never>(() => undefined); // nobody waits for it
      const keys = await this.#options.folder.read();
      const isSame = keys.login.getPublicKey() === link.keys.login.getPublicKey() && keys.authorities === link.keys.authorities;
      if (!isSame) return 'other-login';
      link.keys = keys;
    }
  }

  async #pause(): Promise<void> {
    await pause(this.#backOff.next(), this.#stop.signal);
  }

  #found(): void {
    if (this.#state.kind === 'connected') return;
    this.#told = '';
    this.#options.log.info({ server: this.#link?.connection.getServer() }, 'bus connected');
    this.#become({ kind: 'connected', sinceMs: this.#options.nowMs() });
  }

  #lost(error: unknown): void {
    this.#link = undefined;
    if (this.#stop.signal.aborted) return;
    const reason = describeError(error);
    if (reason !== this.#told) this.#options.log.warn({ error: reason, servers: this.#options.servers }, 'bus away, will be tried again');
    this.#told = reason;
    const { sinceMs } = this.#state.kind === 'away' ? this.#state : { sinceMs: this.#options.nowMs() };
    this.#become({ kind: 'away', sinceMs, reason });
  }

  #become(state: BusState): void {
    this.#state = state;
    this.#options.onState(state);
  }
}

async function giveUp(connection: NatsConnection): Promise<void> {
  const isDrained = connection.drain().then(
    () => true,
    () => true, // it was closed already
  );
  if (!(await Promise.race([isDrained, sleep(DRAIN_MS, false, { ref: false })]))) await connection.close();
}
