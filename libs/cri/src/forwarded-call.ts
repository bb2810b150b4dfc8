import { constants, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { describeError } from '@soci/errors';
import { CriError } from './errors.ts';
import { STATUS, statusOfReset, timeoutMsOf, toTrailers, type Status } from './grpc-status.ts';
import { MessageTap } from './message-tap.ts';
import type { Upstream } from './upstream.ts';

/** Who reads along. Nothing of it may throw. */
export interface CallObserver {
  /** The request's first message, before containerd gets the last byte of it. */
  request?(message: Uint8Array): void;
  /** The response's first message. */
  response?(message: Uint8Array): void;
  /** Once, with the gRPC status the caller sees (or would have seen, had it waited), before it sees it. */
  ended(code: number): void;
}

export interface Call {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
}

/** What a name may hold several times over, without being joined. */
type HeaderLines = Record<string, string | string[]>;

/** Whoever set the deadline ends the call then; this is for one that does not. */
const DEADLINE_SLACK_MS = 1_000;
const MAX_TIMER_MS = 2 ** 31 - 1;
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'host']);

/** One call on its way through: bytes and headers both ways, as they come, no faster than the other side takes them. */
export class ForwardedCall {
  readonly #call: Call;
  readonly #observer: CallObserver;
  #upstream: ClientHttp2Stream | undefined;
  #trailers: HeaderLines | undefined;
  #isAnswered = false;
  #isOver = false;
  #deadline: NodeJS.Timeout | undefined;

  constructor(call: Call, observer: CallObserver) {
    this.#call = call;
    this.#observer = observer;
  }

  start(upstream: Upstream): void {
    const { stream, headers } = this.#call;
    stream.on('error', () => undefined); // 'close' follows
    stream.once('close', () => this.#callerGone());
    stream.once('wantTrailers', () => stream.sendTrailers(this.#trailers ?? {}));
    const timeoutMs = timeoutMsOf(single(headers['grpc-timeout']));
    if (timeoutMs !== undefined) {
      const expire = (): void => this.#fail({ code: STATUS.deadlineExceeded, message: 'deadline exceeded' });
      this.#deadline = setTimeout(expire, Math.min(timeoutMs + DEADLINE_SLACK_MS, MAX_TIMER_MS)).unref();
    }
    if (upstream.session !== undefined) this.#open(upstream.session);
    else
      upstream.connect().then(
        (session) => this.#open(session),
        (error: unknown) => this.#fail({ code: STATUS.unavailable, message: describeError(error) }),
      );
  }

  #open(session: ClientHttp2Session): void {
    if (this.#isOver) return;
    const { rawHeaders } = this.#call;
    let upstream: ClientHttp2Stream;
    try {
      upstream = session.request({
        ...linesOf(rawHeaders),
        ':method': 'POST',
        ':scheme': 'http',
        ':path': this.#path,
        ':authority': 'localhost',
      });
    } catch (error) {
      const code = session.destroyed || session.closed ? STATUS.unavailable : STATUS.internal;
      this.#fail({ code, message: `call cannot be passed on: ${describeError(error)}` });
      return;
    }
    this.#upstream = upstream;
    this.#receive(upstream, session);
    this.#send(upstream);
  }

  get #path(): string {
    return this.#call.headers[':path'] ?? '';
  }

  #send(upstream: ClientHttp2Stream): void {
    const { stream, headers } = this.#call;
    const tap = new MessageTap({ onFirst: this.#observer.request?.bind(this.#observer), encoding: single(headers['grpc-encoding']) });
    stream.on('data', (chunk: Buffer) => this.#pass(tap, chunk, stream, upstream));
    stream.once('end', () => upstream.end());
  }

  #receive(upstream: ClientHttp2Stream, session: ClientHttp2Session): void {
    const { stream } = this.#call;
    let tap: MessageTap | undefined;
    upstream.on('response', (headers, flags, rawHeaders) => {
      const isAll = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      if (isAll) this.#over(codeOf(headers));
      tap = new MessageTap({ onFirst: this.#observer.response?.bind(this.#observer), encoding: single(headers['grpc-encoding']) });
      this.#respond({ ...linesOf(rawHeaders), ':status': String(headers[':status']) }, isAll);
    });
    upstream.on('data', (chunk: Buffer) => tap !== undefined && this.#pass(tap, chunk, upstream, stream));
    upstream.on('trailers', (trailers: IncomingHttpHeaders, _flags: number, rawHeaders: string[]) => {
      this.#trailers = linesOf(rawHeaders);
      if (upstream.readableEnded) this.#finish(codeOf(trailers));
    });
    upstream.once('end', () => {
      if (this.#trailers !== undefined) this.#finish(codeOf(this.#trailers));
    });
    upstream.on('error', () => undefined); // 'close' follows
    upstream.once('close', () => {
      if (this.#isOver) return;
      const isLost = session.destroyed || session.closed;
      this.#fail(
        isLost ? { code: STATUS.unavailable, message: 'connection to the image service was lost' } : statusOfReset(upstream.rstCode),
      );
    });
  }

  #pass(tap: MessageTap, chunk: Buffer, from: ServerHttp2Stream | ClientHttp2Stream, to: ServerHttp2Stream | ClientHttp2Stream): void {
    if (this.#isOver || to.destroyed) return;
    try {
      tap.write(chunk);
    } catch (error) {
      const code = error instanceof CriError && error.code === 'TOO_LARGE' ? STATUS.resourceExhausted : STATUS.internal;
      this.#fail({ code, message: describeError(error) });
      return;
    }
    if (to.write(chunk)) return;
    from.pause();
    to.once('drain', () => from.resume());
  }

  #respond(headers: HeaderLines, isAll: boolean): void {
    const { stream } = this.#call;
    if (this.#isAnswered || stream.destroyed || stream.closed) return;
    this.#isAnswered = true;
    stream.respond(headers, isAll ? { endStream: true } : { waitForTrailers: true });
  }

  #finish(code: number): void {
    if (this.#isOver) return;
    this.#over(code);
    this.#call.stream.end();
  }

  /** Ends the call with a status of our own. */
  #fail(status: Status): void {
    if (this.#isOver) return;
    this.#over(status.code);
    this.#upstream?.close(constants.NGHTTP2_CANCEL);
    if (this.#isAnswered) {
      this.#trailers = { ...toTrailers(status) };
      this.#call.stream.end();
    } else this.#respond({ ':status': '200', 'content-type': 'application/grpc', ...toTrailers(status) }, true);
    this.#call.stream.resume(); // what the caller still sends goes nowhere
  }

  #callerGone(): void {
    if (!this.#isOver) this.#over(STATUS.cancelled);
    if (this.#upstream?.closed === false) this.#upstream.close(constants.NGHTTP2_CANCEL);
  }

  #over(code: number): void {
    this.#isOver = true;
    clearTimeout(this.#deadline);
    this.#observer.ended(code);
  }
}

/** Headers to send on, from names and values in turn: one line each, as they came. Those of the connection stay behind. */
function linesOf(rawHeaders: readonly string[]): HeaderLines {
  const lines: HeaderLines = Object.create(null) as HeaderLines;
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    const value = rawHeaders[index + 1] ?? '';
    if (name.startsWith(':') || HOP_BY_HOP.has(name)) continue;
    const known = lines[name];
    lines[name] = known === undefined ? value : typeof known === 'string' ? [known, value] : [...known, value];
  }
  return lines;
}

function codeOf(headers: Readonly<Record<string, string | string[] | number | undefined>>): number {
  const text = headers['grpc-status'];
  return typeof text === 'string' && /^[0-9]{1,2}$/.test(text) ? Number(text) : STATUS.unknown;
}

function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
