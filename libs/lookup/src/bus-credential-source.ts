import { BusError, type Bus } from '@soci/bus';
import { describeError } from '@soci/errors';
import {
  ChangeListeners,
  fingerprint,
  KeychainError,
  SingleFlight,
  type Answer,
  type CredentialSource,
  type Lookup,
  type SourceChange,
} from '@soci/keychain';
import type { Logger } from '@soci/log';
import type { credentials } from '@soci/proto';
import { ChangeLog, type ServiceState } from './change-log.ts';
import { HeldAnswers, keyOf } from './held-answers.ts';
import { lookupMethod, type LookupReply, type LookupService } from './methods.ts';

export interface BusCredentialSourceOptions {
  readonly bus: Bus;
  /** Of the source that another service has. */
  readonly name: 'cri' | 'kubernetes-secrets';
  readonly log: Logger;
  readonly monotonicMs?: () => number;
  readonly nowMs?: () => number;
}

const MAX_REFUSED = 64;
/** A credential that was withdrawn while it was on its way is asked for once more. */
const MAX_TRIES = 3;

/**
 * A source of another service, over the bus. While the bus or the service is away it is not ready, which is never anonymous; what was given before stays good. Changes are told as they come; those
 * that were missed are found out by asking again for what was given.
 */
export class BusCredentialSource implements CredentialSource, AsyncDisposable {
  readonly name: 'cri' | 'kubernetes-secrets';
  readonly #bus: Bus;
  readonly #service: LookupService;
  readonly #log: Logger;
  readonly #held: HeldAnswers;
  readonly #changes: ChangeLog;
  readonly #flights = new SingleFlight<Answer>();
  readonly #listeners = new ChangeListeners();
  readonly #refused = new Set<string>();
  readonly #stop = new AbortController();

  constructor({ bus, name, log, monotonicMs = () => performance.now(), nowMs = Date.now }: BusCredentialSourceOptions) {
    this.name = name;
    this.#bus = bus;
    this.#service = name === 'cri' ? 'cri-proxy' : 'secret-syncer';
    this.#log = log.child({ source: name });
    this.#held = new HeldAnswers(monotonicMs);
    this.#changes = new ChangeLog({
      bus,
      service: this.#service,
      log: this.#log,
      nowMs,
      onChange: (event) => this.#apply(event),
      onMayBeBetter: () => this.#tell({ source: name, withdrawn: [] }),
      onMissed: async (isNewInstance, signal) => await this.#askAgain(isNewInstance, signal),
    });
  }

  /** Whether the service can be asked, for /readyz and `soci credentials`. */
  get state(): ServiceState {
    return this.#changes.state;
  }

  async resolve(lookup: Lookup, signal: AbortSignal): Promise<Answer> {
    const held = this.#held.get(lookup);
    if (held !== undefined) return held;
    return await this.#flights.run(keyOf(lookup), signal, async (flight) => await this.#ask(lookup, flight));
  }

  refused(print: string): boolean {
    const id = this.#held.idOf(print);
    if (id === undefined) return false;
    if (this.#refused.size < MAX_REFUSED) this.#refused.add(id);
    return this.#held.dropCredential(print);
  }

  onChange(listener: (change: SourceChange) => void): Disposable {
    return this.#listeners.add(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#changes[Symbol.asyncDispose]();
    this.#listeners.clear();
    this.#held.wipeAll();
  }

  /** @throws {KeychainError} what the source threw; the signal's reason */
  async #ask(lookup: Lookup, signal: AbortSignal): Promise<Answer> {
    const refused = [...this.#refused];
    for (let tries = 1; ; tries++) {
      let reply: LookupReply;
      try {
        reply = await this.#bus.request(lookupMethod(this.#service), { ...lookup, refused }, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof BusError)) throw error;
        return { kind: 'not-ready', reason: this.#whyNot(error) };
      }
      for (const id of refused) this.#refused.delete(id);
      const isStale = this.#changes.hasWithdrawnSince(reply.position, reply.ids);
      if (!isStale || tries === MAX_TRIES) return this.#take(lookup, reply, isStale);
    }
  }

  #take(lookup: Lookup, { position, answer, ids }: LookupReply, isStale: boolean): Answer {
    this.#changes.noteReply(position);
    switch (answer.kind) {
      case 'candidates':
        if (!this.#stop.signal.aborted) {
          // What has changed since it was made may be about it.
          const isKept = !this.#bus.passesObjects && !isStale && this.#changes.isLatest(position);
          this.#held.note(lookup, answer, ids, isKept);
        }
        return answer;
      case 'none':
        this.#held.noteNothing(lookup);
        return answer;
      case 'not-ready':
        return answer;
      case 'failed':
        throw new KeychainError(answer.code, answer.message);
    }
  }

  #whyNot(error: BusError): string {
    if (error.code === 'AWAY' || error.code === 'NO_RESPONDER') this.#changes.noteNobody();
    this.#log.debug({ code: error.code, error: describeError(error) }, 'look-up over the bus not answered');
    return `${this.#service}: ${error.code === 'AWAY' ? 'the bus is away' : error.message}`; // not its causes: a bug's text may quote anything
  }

  #apply({ anyHost, hosts, withdrawn }: credentials.SourceChanged): void {
    const prints = withdrawn.flatMap((id) => this.#held.printOf(id) ?? []);
    this.#held.dropHosts(anyHost ? undefined : hosts);
    this.#withdraw(prints, anyHost ? {} : { hosts });
  }

  /** Listeners hear of it before anything is overwritten. */
  #withdraw(prints: readonly string[], about: Pick<SourceChange, 'hosts'>): void {
    this.#tell({ source: this.name, ...about, withdrawn: prints });
    this.#held.withdraw(prints, { wipes: !this.#bus.passesObjects });
  }

  /**
   * Changes were missed: every look-up that was answered is made again. What none of them gives any more counts as withdrawn.
   * @returns whether that is done with
   */
  async #askAgain(isNewInstance: boolean, signal: AbortSignal): Promise<boolean> {
    const before = this.#held.given();
    if (isNewInstance) this.#held.forgetIds();
    this.#held.dropHosts();
    const prints = new Set(before.flatMap((given) => given.prints));
    for (const given of before) {
      let answer: Answer;
      try {
        answer = await this.#flights.run(keyOf(given.lookup), signal, async (flight) => await this.#ask(given.lookup, flight));
      } catch (error) {
        if (signal.aborted) return false;
        this.#log.debug({ error }, 'look-up was not made again'); // the source fails: what it gave before is not taken back by that
        for (const print of given.prints) prints.delete(print);
        continue;
      }
      if (answer.kind === 'not-ready') return false;
      if (answer.kind === 'candidates') for (const { credential } of answer.candidates) prints.delete(fingerprint(credential));
    }
    if (prints.size > 0) this.#withdraw([...prints], {});
    return true;
  }

  #tell(change: SourceChange): void {
    this.#listeners.tell(change);
  }
}
