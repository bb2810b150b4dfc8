import { randomBytes } from 'node:crypto';
import type { bus } from '@soci/proto';
import type { ServiceName } from './bus.ts';
import { BusError } from './errors.ts';
import { readStatement, type CurveKeys } from './keys/key-statement.ts';
import type { Link } from './nats-link.ts';

export interface RemoteKeysOptions {
  readonly ask: (link: Link, service: ServiceName, request: bus.GetKeysRequest, signal: AbortSignal) => Promise<bus.GetKeysResponse>;
  readonly nowMs: () => number;
}

const NONCE_BYTES = 16;
/** Then they are asked for again. A change is noticed before: the service refuses what is sealed to a key that it has no more. */
const ASK_AGAIN_MS = 5 * 60_000;
const ASK_TIMEOUT_MS = 2_000;

interface Known {
  readonly keys: Promise<CurveKeys>;
  readonly link: Link;
  readonly askedMs: number;
  readonly signers: string;
}

/** The curve keys of services that answer, as they state them under a signature that we know. */
export class RemoteKeys {
  readonly #options: RemoteKeysOptions;
  readonly #known = new Map<ServiceName, Known>();

  constructor(options: RemoteKeysOptions) {
    this.#options = options;
  }

  /**
   * All who ask at the same time share one question, which has a deadline of its own.
   * @throws {BusError} `INVALID` when the statement is not to be believed, and what asking throws
   */
  of(link: Link, service: ServiceName): Promise<CurveKeys> {
    const signers = link.keys.peers.signers.get(service) ?? [];
    const known = this.#known.get(service);
    const isFresh = known?.link === link && performance.now() - known.askedMs < ASK_AGAIN_MS && known.signers === signers.join();
    if (isFresh) return known.keys;
    const keys = this.#ask(link, service, signers);
    const entry = { keys, link, askedMs: performance.now(), signers: signers.join() };
    this.#known.set(service, entry);
    keys.catch(() => this.#known.get(service) === entry && this.#known.delete(service)); // whoever waits for them sees the error
    return keys;
  }

  /** @param keys that the service has no more */
  async forget(service: ServiceName, keys: CurveKeys): Promise<void> {
    const known = this.#known.get(service);
    if (known !== undefined && (await known.keys) === keys && this.#known.get(service) === known) this.#known.delete(service);
  }

  async #ask(link: Link, service: ServiceName, signers: readonly string[]): Promise<CurveKeys> {
    const nonce = randomBytes(NONCE_BYTES);
    let answer: bus.GetKeysResponse;
    try {
      answer = await this.#options.ask(link, service, { nonce }, AbortSignal.timeout(ASK_TIMEOUT_MS));
    } catch (error) {
      if (error instanceof BusError) throw error;
      if (error instanceof Error && error.name === 'TimeoutError') throw new BusError('TIMED_OUT', `keys of ${service}: no answer`);
      throw new BusError('INVALID', `keys of ${service}: the answer cannot be read`);
    }
    return readStatement(answer, signers, { service, node: link.keys.identity.node ?? '', nonce }, this.#options.nowMs());
  }
}
