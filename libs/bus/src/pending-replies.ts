import { randomBytes } from 'node:crypto';
import type { Msg, NatsConnection } from 'nats';
import { BusError } from './errors.ts';

interface Pending {
  readonly connection: NatsConnection;
  readonly subject: string;
  readonly resolve: (data: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

const MAX_PENDING = 1_024;
const TOKEN_BYTES = 12;
const NO_RESPONDERS = 503;

/** Who waits for which answer. One that comes when nobody waits is dropped. */
export class PendingReplies {
  readonly #pending = new Map<string, Pending>();

  /**
   * @returns the last part of the subject to answer to
   * @throws {BusError} `BUSY`
   */
  expect(
    connection: NatsConnection,
    subject: string,
    signal: AbortSignal,
  ): { readonly token: string; readonly reply: Promise<Uint8Array> } {
    signal.throwIfAborted();
    if (this.#pending.size >= MAX_PENDING) throw new BusError('BUSY', `${subject}: ${MAX_PENDING} requests are under way`);
    const token = randomBytes(TOKEN_BYTES).toString('hex');
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    const leave = (): void => this.#take(token)?.reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    this.#pending.set(token, { connection, subject, resolve, reject });
    return { token, reply: promise.finally(() => signal.removeEventListener('abort', leave)) };
  }

  settle(token: string, message: Msg): void {
    const pending = this.#take(token);
    if (pending === undefined) return;
    if (message.headers?.code === NO_RESPONDERS) pending.reject(new BusError('NO_RESPONDER', `${pending.subject}: nobody answers there`));
    else pending.resolve(message.data);
  }

  lose(connection: NatsConnection): void {
    for (const [token, pending] of this.#pending) {
      if (pending.connection === connection) this.#take(token)?.reject(new BusError('AWAY', `${pending.subject}: the bus went away`));
    }
  }

  forbid(subject: string): void {
    for (const [token, pending] of this.#pending) {
      if (pending.subject === subject) this.#take(token)?.reject(new BusError('FORBIDDEN', `${subject}: not allowed by the server`));
    }
  }

  #take(token: string): Pending | undefined {
    const pending = this.#pending.get(token);
    this.#pending.delete(token);
    return pending;
  }
}
