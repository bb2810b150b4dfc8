import { bus } from '@soci/proto';
import type { Msg } from 'nats';
import type { Caller, Method } from './bus.ts';
import { BoundedQueue } from './bounded-queue.ts';
import { signStatement } from './keys/key-statement.ts';
import type { Link } from './nats-link.ts';
import { isNodeId } from './node-id.ts';
import { Refused, type RefusalCode, type RefusalLog } from './refusals.ts';
import { MAX_REPLY_BYTES, MAX_REQUEST_BYTES } from './requester.ts';
import { bind, checkBinding, checkSubject, type Exchange } from './seal/binding.ts';
import type { CurveKey } from './seal/curve-key.ts';
import { ReplayWindow } from './seal/replay-window.ts';
import { open, seal } from './seal/sealed-body.ts';
import { isInboxOf, nodeOfRequest, requestSubject } from './subjects.ts';

export interface ResponderOptions {
  readonly link: () => Link | undefined;
  readonly refusals: RefusalLog;
  /** A handler threw. */
  readonly onFailure: (method: string, error: unknown) => void;
  readonly nowMs: () => number;
}

/** A method with what answers it. */
interface Served {
  readonly method: Method<unknown, unknown>;
  readonly handler: (request: unknown, caller: Caller) => unknown;
}

const KEYS_METHOD = 'keys';
const ANSWER_WITHIN_MS = 10_000;
const MAX_RUNNING = 32;
const MAX_QUEUED = 512;
const MAX_QUEUED_EACH = 128;

/** Answers other services over NATS. */
export class Responder {
  readonly #options: ResponderOptions;
  readonly #served = new Map<string, Served>();
  readonly #replays = new ReplayWindow();
  readonly #queue = new BoundedQueue({ maxRunning: MAX_RUNNING, maxQueued: MAX_QUEUED, maxQueuedEach: MAX_QUEUED_EACH });
  readonly #startedMs = performance.now();

  constructor(options: ResponderOptions) {
    this.#options = options;
  }

  serve<Q, A>(method: Method<Q, A>, handler: (request: Q, caller: Caller) => Promise<A> | A): Disposable {
    const served = { method, handler } as unknown as Served; // the codec and the handler are of one type, whichever
    this.#served.set(method.name, served);
    return {
      [Symbol.dispose]: () => {
        if (this.#served.get(method.name) === served) this.#served.delete(method.name);
      },
    };
  }

  /** Hears what is asked by a connection. */
  listen({ connection, keys }: Link): void {
    const { service, node } = keys.identity;
    if (keys.signing === undefined) return; // a service that only asks
    connection.subscribe(requestSubject(service, '*', node), {
      queue: service,
      callback: (error, message) => {
        if (error === null) this.#take(message);
      },
    });
  }

  #take(message: Msg): void {
    const node = nodeOfRequest(message.subject);
    const name = message.subject.slice(message.subject.lastIndexOf('.') + 1);
    if (!isNodeId(node) || message.reply === undefined || !isInboxOf(node, message.reply)) {
      this.#options.refusals.note(isNodeId(node) ? node : 'unknown', name, 'WRONG_REPLY');
      return;
    }
    const isTaken = this.#queue.add(node, async () => this.#respond(message, await this.#answer(node, name, message.data)));
    if (!isTaken) this.#respond(message, this.#refusal(node, name, 'BUSY'));
  }

  #respond(message: Msg, reply: bus.Reply): void {
    let payload = bus.Reply.encode(reply).finish();
    if (payload.length > MAX_REPLY_BYTES) payload = bus.Reply.encode({ refusal: { code: 'TOO_LARGE' } }).finish();
    if (this.#options.link() !== undefined) message.respond(payload);
  }

  /** Never rejects. */
  async #answer(node: string, name: string, data: Uint8Array): Promise<bus.Reply> {
    const link = this.#options.link();
    try {
      if (link === undefined) throw new Refused('BUSY');
      if (data.length > MAX_REQUEST_BYTES) throw new Refused('TOO_LARGE');
      const request = decodeRequest(data);
      if (name === KEYS_METHOD) return this.#stateKeys(link, node, request);
      const served = this.#served.get(name);
      if (served === undefined) throw new Refused('BUSY'); // it is about to be there, or just gone
      if (served.method.boundTo === undefined) return await this.#answerInPlain(served, node, request);
      return await this.#answerSealed(link, served, node, request);
    } catch (error) {
      if (error instanceof Refused) return this.#refusal(node, name, error.code);
      this.#options.onFailure(name, error);
      return { refusal: { code: 'FAILED' } };
    }
  }

  #refusal(node: string, name: string, code: RefusalCode): bus.Reply {
    const isKnown = this.#options.link()?.keys.peers.nodes.has(node) ?? false;
    this.#options.refusals.note(isKnown ? node : 'unknown', name, code);
    return { refusal: { code } };
  }

  #stateKeys({ keys }: Link, node: string, { plain }: bus.Request): bus.Reply {
    if (!keys.peers.nodes.has(node)) throw new Refused('UNKNOWN_NODE');
    if (plain === undefined || keys.signing === undefined) throw new Refused('UNREADABLE');
    const { nonce } = readAs(() => bus.GetKeysRequest.decode(plain));
    const { service } = keys.identity;
    const own = { current: keys.curve.publicKey, next: keys.nextCurve?.publicKey };
    const statement = signStatement(keys.signing, own, { service, node, nonce }, this.#options.nowMs());
    return { plain: Buffer.from(bus.GetKeysResponse.encode(statement).finish()) };
  }

  async #answerInPlain({ method, handler }: Served, node: string, { plain }: bus.Request): Promise<bus.Reply> {
    if (plain === undefined) throw new Refused('UNREADABLE');
    const request = readAs(() => method.request.decode(plain));
    const answer = await handler(request, { node, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    return { plain: Buffer.from(method.answer.encode(answer)) };
  }

  async #answerSealed(link: Link, { method, handler }: Served, node: string, { sealed }: bus.Request): Promise<bus.Reply> {
    if (sealed === undefined) throw new Refused('NOT_SEALED');
    const { nowMs } = this.#options;
    const { own, senderKey } = keysOf(link, node, sealed);
    const exchange: Exchange = { service: method.service, method: method.name, node };
    const { binding, message } = open(own, senderKey, sealed);
    try {
      checkBinding(binding, exchange, 'request', nowMs());
      // What was sent to the process before this one may have been seen by it.
      if (Number(binding.issuedAtMs) < nowMs() - (performance.now() - this.#startedMs)) throw new Refused('CLOCK');
      this.#replays.take(node, binding.requestId, Number(binding.expiresAtMs), nowMs());
      const request = readAs(() => method.request.decode(message));
      const about = method.boundTo?.(request);
      if (about !== undefined) checkSubject(binding, about);
      const answer = await handler(request, { node, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
      const answered = bind(exchange, 'answer', binding.requestId, binding, nowMs());
      return { sealed: seal(own, senderKey, answered, method.answer.encode(answer)) };
    } finally {
      message.fill(0);
    }
  }
}

/** Which of our keys, and which of the node's: from our own list, whatever the message says. */
function keysOf({ keys }: Link, node: string, sealed: bus.Sealed): { readonly own: CurveKey; readonly senderKey: string } {
  const known = keys.peers.nodes.get(node);
  if (known === undefined) throw new Refused('UNKNOWN_NODE');
  const own = [keys.curve, keys.nextCurve].find((key) => key?.publicKey === sealed.recipientKey);
  const senderKey = known.find((key) => key === sealed.senderKey);
  if (own === undefined || senderKey === undefined) throw new Refused('UNKNOWN_KEY');
  return { own, senderKey };
}

function decodeRequest(data: Uint8Array): bus.Request {
  return readAs(() => bus.Request.decode(data));
}

/** What cannot be read is the sender's fault, and what it says is not told. */
function readAs<T>(read: () => T): T {
  try {
    return read();
  } catch {
    throw new Refused('UNREADABLE');
  }
}
