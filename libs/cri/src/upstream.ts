import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { connect, type ClientHttp2Session } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';
import { CriError } from './errors.ts';

export interface UpstreamOptions {
  /** containerd's unix socket. */
  readonly path: string;
  /** Whose socket it must be: who answers there is shown every login. Root's, unless a test says otherwise. */
  readonly ownerUid?: number;
}

const CONNECT_TIMEOUT_MS = 5_000;
const WINDOW_BYTES = 1 << 20;
/** Megabytes. Node closes a session above its limit, and its default is less than one message may have. */
const MAX_SESSION_MEMORY = 512;

/** The connection to containerd: made when a call needs it, made again at the first call after it broke. Nothing waits for a containerd that is down. */
export class Upstream implements Disposable {
  readonly #options: Required<UpstreamOptions>;
  readonly #log: Logger;
  readonly #sessions = new Set<ClientHttp2Session>();
  #current: ClientHttp2Session | undefined;
  #connecting: Promise<ClientHttp2Session> | undefined;
  #isDown = false;
  #isDisposed = false;

  constructor(options: UpstreamOptions, log: Logger) {
    this.#options = { ownerUid: 0, ...options };
    this.#log = log;
  }

  /** The session to use now; undefined when one has to be made first. */
  get session(): ClientHttp2Session | undefined {
    const session = this.#current;
    return session === undefined || session.closed || session.destroyed ? undefined : session;
  }

  /** @throws {CriError} `UNAVAILABLE`, `UNTRUSTED` */
  connect(): Promise<ClientHttp2Session> {
    const { session } = this;
    if (session !== undefined) return Promise.resolve(session);
    return (this.#connecting ??= this.#connect().finally(() => (this.#connecting = undefined)));
  }

  /** Calls under way end with it. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    for (const session of this.#sessions) session.destroy();
  }

  async #connect(): Promise<ClientHttp2Session> {
    try {
      const session = await this.#open();
      if (this.#isDown) this.#log.info({ path: this.#options.path }, 'image service can be reached again');
      this.#isDown = false;
      return session;
    } catch (error) {
      if (!this.#isDown) this.#log.warn({ path: this.#options.path, error }, 'image service cannot be reached, its callers are told so');
      this.#isDown = true;
      throw error;
    }
  }

  async #open(): Promise<ClientHttp2Session> {
    const { path } = this.#options;
    await this.#checkOwner();
    const socket = connectSocket({ path });
    try {
      await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) });
    } catch (cause) {
      socket.destroy();
      throw unavailable(cause);
    }
    if (this.#isDisposed) {
      socket.destroy();
      throw new CriError('UNAVAILABLE', 'image service proxy is stopping');
    }
    const session = connect('http://localhost', {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
      maxSessionMemory: MAX_SESSION_MEMORY,
    });
    session.once('connect', () => session.setLocalWindowSize(WINDOW_BYTES));
    session.on('error', (error) => this.#log.debug({ path, error }, 'connection to the image service failed'));
    session.once('goaway', () => this.#forget(session)); // its calls may end, new ones want another connection
    session.once('close', () => {
      this.#forget(session);
      this.#sessions.delete(session);
    });
    this.#sessions.add(session);
    this.#current = session;
    return session;
  }

  async #checkOwner(): Promise<void> {
    const { path, ownerUid } = this.#options;
    const found = await stat(path).catch((cause: unknown) => {
      throw unavailable(cause);
    });
    if (!found.isSocket()) throw new CriError('UNTRUSTED', `${path} is not a socket`);
    if (found.uid !== ownerUid) throw new CriError('UNTRUSTED', `${path} belongs to user ${found.uid}, not to user ${ownerUid}`);
  }

  #forget(session: ClientHttp2Session): void {
    if (this.#current === session) this.#current = undefined;
  }
}

function unavailable(cause: unknown): CriError {
  return new CriError('UNAVAILABLE', `image service is not initialized: ${describeError(cause)}`, { cause });
}
