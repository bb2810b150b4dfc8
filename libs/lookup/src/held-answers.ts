import { BoundedMap, fingerprint, type Answer, type Candidates, type Credential, type Lookup } from '@soci/keychain';

/** An opened credential is not kept for longer, whatever is made from it. */
const MAX_HELD_MS = 10 * 60_000;
const MAX_HELD = 1_024;
const MAX_GIVEN = 1_024;
const MAX_IDS = 8_192;

interface Held {
  readonly host: string;
  readonly answer: Candidates;
  readonly prints: readonly string[];
  readonly untilMs: number;
}

/** A look-up that was answered with credentials. */
export interface Given {
  readonly lookup: Lookup;
  /** Fingerprints of what it was answered with. */
  readonly prints: readonly string[];
}

/**
 * What another service has answered: the credentials, for ten minutes; which look-ups got which, in fingerprints, for as long as there is room. Something may have been made from a credential
 * that is not held any more.
 */
export class HeldAnswers {
  readonly #monotonicMs: () => number;
  readonly #held = new BoundedMap<string, Held>(MAX_HELD);
  readonly #given = new BoundedMap<string, Given>(MAX_GIVEN);
  readonly #printsById = new BoundedMap<string, string>(MAX_IDS);
  readonly #idsByPrint = new BoundedMap<string, string>(MAX_IDS);

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
  }

  get size(): number {
    return this.#held.size;
  }

  get(lookup: Lookup): Answer | undefined {
    const key = keyOf(lookup);
    const held = this.#held.get(key);
    if (held === undefined) return undefined;
    if (this.#monotonicMs() < held.untilMs) return held.answer;
    this.#held.delete(key); // not overwritten: it was given to somebody who may be using it
    return undefined;
  }

  /** Notes what a look-up got. @param isKept whether the same look-up gets it again without asking */
  note(lookup: Lookup, answer: Candidates, ids: readonly string[], isKept: boolean): void {
    const prints = answer.candidates.map(({ credential }) => fingerprint(credential));
    prints.forEach((print, i) => {
      const id = ids[i] ?? '';
      this.#printsById.set(id, print);
      this.#idsByPrint.set(print, id);
    });
    const key = keyOf(lookup);
    this.#given.set(key, { lookup, prints });
    if (isKept) this.#held.set(key, { host: lookup.host, answer, prints, untilMs: this.#monotonicMs() + MAX_HELD_MS });
  }

  /** A look-up got nothing. */
  noteNothing(lookup: Lookup): void {
    this.#given.delete(keyOf(lookup));
  }

  /** The other side's name for a credential. */
  idOf(print: string): string | undefined {
    return this.#idsByPrint.get(print);
  }

  /** Our name for a credential. */
  printOf(id: string): string | undefined {
    return this.#printsById.get(id);
  }

  /** @returns whether any was held */
  dropCredential(print: string): boolean {
    return this.#drop(({ prints }) => prints.includes(print)).length > 0;
  }

  /** @param hosts left out: all of them */
  dropHosts(hosts?: readonly string[]): void {
    this.#drop(({ host }) => hosts?.includes(host) ?? true);
  }

  /** What was made from these is gone. @param wipes whether they are ours, to be overwritten */
  withdraw(prints: readonly string[], { wipes }: { readonly wipes: boolean }): void {
    const gone = new Set(prints);
    for (const { answer } of this.#drop((held) => held.prints.some((print) => gone.has(print)))) {
      for (const { credential } of answer.candidates) if (wipes && gone.has(fingerprint(credential))) wipe(credential);
    }
    for (const print of prints) {
      const id = this.#idsByPrint.get(print);
      this.#idsByPrint.delete(print);
      if (id !== undefined) this.#printsById.delete(id);
    }
  }

  /** The latest first. */
  given(): readonly Given[] {
    return Array.from(this.#given.entries(), ([, given]) => given).reverse();
  }

  /** The other side was started anew: its names mean nothing any more. */
  forgetIds(): void {
    this.#printsById.clear();
    this.#idsByPrint.clear();
  }

  wipeAll(): void {
    for (const [, { answer }] of this.#held.entries()) for (const { credential } of answer.candidates) wipe(credential);
    this.#held.clear();
    this.#given.clear();
    this.forgetIds();
  }

  #drop(isMeant: (held: Held) => boolean): readonly Held[] {
    const dropped: Held[] = [];
    for (const [key, held] of [...this.#held.entries()]) {
      if (!isMeant(held)) continue;
      this.#held.delete(key);
      dropped.push(held);
    }
    return dropped;
  }
}

export function keyOf({ host, reference, namespaces }: Lookup): string {
  return [host, reference.canonical(), ...namespaces.toSorted()].join('\n');
}

function wipe(credential: Credential): void {
  if (credential.kind === 'basic') credential.password.wipe();
  else if (credential.kind !== 'anonymous') credential.token.wipe();
}
