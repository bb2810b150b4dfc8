import { randomBytes } from 'node:crypto';
import { bus } from '@soci/proto';
import type { NatsConnection } from 'nats';
import type { BoundTo, Method } from './bus.ts';
import { protoCodec } from './codec.ts';
import { BusError } from './errors.ts';
import type { CurveKeys } from './keys/key-statement.ts';
import type { Link } from './nats-link.ts';
import { PendingReplies } from './pending-replies.ts';
import { Refused, type RefusalLog } from './refusals.ts';
import { RemoteKeys } from './remote-keys.ts';
import { bind, checkBinding, checkSubject, REQUEST_ID_BYTES, type Exchange } from './seal/binding.ts';
import { open, seal } from './seal/sealed-body.ts';
import { inboxPrefix, requestSubject } from './subjects.ts';

/** Larger requests are not sent. */
export const MAX_REQUEST_BYTES = 64 << 10;
/** Larger answers are not sent, or not read. */
export const MAX_REPLY_BYTES = 512 << 10;

export interface RequesterOptions {
  readonly link: () => Link | undefined;
  readonly refusals: RefusalLog;
  readonly nowMs: () => number;
}

interface SealedRequest {
  readonly about: BoundTo;
  readonly theirs: CurveKeys;
  readonly signal: AbortSignal;
}

const replies = protoCodec(bus.Reply);

/** Asks other services over NATS, sealed where the method says so. */
export class Requester {
  readonly #options: RequesterOptions;
  readonly #pending: PendingReplies;
  readonly #remoteKeys: RemoteKeys;

  constructor(options: RequesterOptions) {
    this.#options = options;
    this.#pending = new PendingReplies();
    this.#remoteKeys = new RemoteKeys({
      nowMs: options.nowMs,
      ask: async (link, service, request, signal) => {
        const payload = bus.Request.encode({ plain: Buffer.from(bus.GetKeysRequest.encode(request).finish()) }).finish();
        const { plain } = await this.#exchange(link, requestSubject(service, 'keys', nodeOf(link)), payload, signal);
        if (plain === undefined) throw new BusError('INVALID', `keys of ${service}: no answer in plain`);
        return bus.GetKeysResponse.decode(plain);
      },
    });
  }

  /** Hears the answers that come by a connection. */
  listen({ connection, keys }: Link): void {
    const prefix = `${inboxPrefix(keys.identity)}.`;
    connection.subscribe(`${prefix}>`, {
      callback: (error, message) => {
        if (error === null) this.#pending.settle(message.subject.slice(prefix.length), message);
      },
    });
  }

  /** @throws {BusError} */
  async request<Q, A>(method: Method<Q, A>, request: Q, signal: AbortSignal): Promise<A> {
    const link = this.#options.link();
    if (link === undefined) throw new BusError('AWAY', `${method.service}: the bus is away`);
    if (method.boundTo === undefined) return await this.#requestInPlain(link, method, request, signal);
    const about = method.boundTo(request);
    const theirs = await withSignal(this.#remoteKeys.of(link, method.service), signal);
    try {
      return await this.#requestSealed(link, method, request, { about, theirs, signal });
    } catch (error) {
      if (!(error instanceof BusError) || error.reason !== 'UNKNOWN_KEY') throw error;
      // The service has changed its keys, or we have.
      await this.#remoteKeys.forget(method.service, theirs);
      const newer = await withSignal(this.#remoteKeys.of(link, method.service), signal);
      return await this.#requestSealed(link, method, request, { about, theirs: newer, signal });
    }
  }

  /** Whoever waits for an answer by this connection waits no more. */
  connectionLost(connection: NatsConnection): void {
    this.#pending.lose(connection);
  }

  /** The server did not let a request out. */
  forbidden(subject: string): void {
    this.#pending.forbid(subject);
  }

  async #requestInPlain<Q, A>(link: Link, method: Method<Q, A>, request: Q, signal: AbortSignal): Promise<A> {
    const payload = bus.Request.encode({ plain: Buffer.from(method.request.encode(request)) }).finish();
    const { plain } = await this.#exchange(link, requestSubject(method.service, method.name, nodeOf(link)), payload, signal);
    if (plain === undefined) throw invalid(method, 'no answer in plain');
    return decode(method, plain);
  }

  async #requestSealed<Q, A>(link: Link, method: Method<Q, A>, request: Q, { about, theirs, signal }: SealedRequest): Promise<A> {
    const { nowMs, refusals } = this.#options;
    const { curve } = link.keys;
    const exchange: Exchange = { service: method.service, method: method.name, node: nodeOf(link) };
    const requestId = randomBytes(REQUEST_ID_BYTES);
    const binding = bind(exchange, 'request', requestId, about, nowMs());
    const sealed = seal(curve, theirs.current, binding, method.request.encode(request));
    const payload = bus.Request.encode({ sealed }).finish();
    const reply = await this.#exchange(link, requestSubject(method.service, method.name, exchange.node), payload, signal);
    let message: Buffer | undefined;
    try {
      if (reply.sealed === undefined) throw new Refused('NOT_SEALED');
      const { senderKey, recipientKey } = reply.sealed;
      if (recipientKey !== curve.publicKey || (senderKey !== theirs.current && senderKey !== theirs.next)) throw new Refused('UNKNOWN_KEY');
      const opened = open(curve, senderKey, reply.sealed);
      message = opened.message;
      checkBinding(opened.binding, exchange, 'answer', nowMs());
      if (!opened.binding.requestId.equals(requestId)) throw new Refused('REPLAYED');
      checkSubject(opened.binding, about);
      return decode(method, message);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refusals.note(method.service, method.name, error.code);
      throw invalid(method, error.code);
    } finally {
      message?.fill(0);
    }
  }

  async #exchange(link: Link, subject: string, payload: Uint8Array, signal: AbortSignal): Promise<bus.Reply> {
    if (payload.length > MAX_REQUEST_BYTES) throw new BusError('TOO_LARGE', `${subject}: request of ${payload.length} bytes`);
    const { token, reply } = this.#pending.expect(link.connection, subject, signal);
    link.connection.publish(subject, payload, { reply: `${inboxPrefix(link.keys.identity)}.${token}` });
    const data = await reply;
    if (data.length > MAX_REPLY_BYTES) throw new BusError('TOO_LARGE', `${subject}: answer of ${data.length} bytes`);
    let decoded: bus.Reply;
    try {
      decoded = replies.decode(data);
    } catch {
      throw new BusError('INVALID', `${subject}: the answer cannot be read`);
    }
    if (decoded.refusal !== undefined) throw toBusError(subject, decoded.refusal.code);
    return decoded;
  }
}

/** @throws what `promise` does, and before that the signal's reason */
async function withSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise: left, reject } = Promise.withResolvers<never>();
  const leave = (): void => reject(signal.reason);
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([promise, left]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

function nodeOf({ keys }: Link): string {
  const { node } = keys.identity;
  if (node === undefined) throw new BusError('FORBIDDEN', `${keys.identity.service} is there for all nodes and asks nobody`);
  return node;
}

function decode<Q, A>(method: Method<Q, A>, message: Uint8Array): A {
  try {
    return method.answer.decode(message);
  } catch (error) {
    if (error instanceof BusError) throw error;
    throw invalid(method, 'it cannot be read'); // the cause might quote it
  }
}

function invalid<Q, A>({ service, name }: Method<Q, A>, why: string): BusError {
  return new BusError('INVALID', `${service} ${name}: the answer is not to be used: ${why}`);
}

function toBusError(subject: string, code: string): BusError {
  const reason = /^[A-Z_]{1,32}$/.test(code) ? code : 'UNKNOWN';
  if (reason === 'BUSY' || reason === 'FAILED' || reason === 'TOO_LARGE') return new BusError(reason, `${subject}: ${reason}`, { reason });
  return new BusError('REFUSED', `${subject}: refused: ${reason}`, { reason });
}
