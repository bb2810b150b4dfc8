import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

/** Calls of a server's socket that something else than its services answers, as bytes. */
export interface PassThrough {
  /** Whether a call is one of them. @param path `/package.Service/Method`, as the client wrote it */
  matches(path: string): boolean;
  /**
   * Takes a call over: the stream is its own from here on, and it must answer and end it. It may not throw.
   * @param rawHeaders names and values in turn, as they came: several of one name are not joined
   */
  handle(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void;
}

/** Published by Node before a session tells anyone of a new stream, so also before its first. */
const STREAM_CREATED = 'http2.server.stream.created';
const OWNER = Symbol('pass-through of the socket');

type Listener = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, rawHeaders: string[]) => void;
type Owned = Partial<Record<typeof OWNER, PassThrough>>;

/**
 * Puts itself between the HTTP/2 sessions of some sockets and the gRPC library, which answers every method it does not know by itself and gives no session away.
 * Streams that do not match go to the library's own listener as they come: they take no further hop.
 */
export class PassThroughSockets implements Disposable {
  readonly #passThrough: PassThrough;
  readonly #sessions = new WeakSet();
  #isSubscribed = false;

  constructor(passThrough: PassThrough) {
    this.#passThrough = passThrough;
  }

  /** To be called before the library is given the socket, which must not be one under TLS: there the session has a socket of its own. */
  claim(socket: Socket): void {
    (socket as Owned)[OWNER] = this.#passThrough;
    if (this.#isSubscribed) return;
    subscribe(STREAM_CREATED, this.#streamCreated);
    this.#isSubscribed = true;
  }

  [Symbol.dispose](): void {
    unsubscribe(STREAM_CREATED, this.#streamCreated);
  }

  readonly #streamCreated = (message: unknown): void => {
    const { session } = (message as { readonly stream: ServerHttp2Stream }).stream;
    if (session === undefined || this.#sessions.has(session) || (session.socket as Owned)[OWNER] !== this.#passThrough) return;
    this.#sessions.add(session);
    const library = session.listeners('stream') as Listener[];
    session.removeAllListeners('stream');
    const dispatch: Listener = (stream, headers, flags, rawHeaders) => {
      if (this.#passThrough.matches(headers[':path'] ?? '')) this.#passThrough.handle(stream, headers, rawHeaders);
      else for (const listener of library) listener.call(session, stream, headers, flags, rawHeaders);
    };
    session.on('stream', dispatch);
  };
}
