import {
  fingerprint,
  type Answer,
  type Candidate,
  type Credential,
  type CredentialSource,
  type Lookup,
  type SourceChange,
} from '@soci/keychain';

/** A source that a test fills. */
export class FedSource implements CredentialSource {
  readonly name: string;
  readonly lookups: Lookup[] = [];
  readonly refusals: string[] = [];
  answer: (lookup: Lookup) => Answer | Promise<Answer> = () => ({ kind: 'none' });
  readonly #listeners = new Set<(change: SourceChange) => void>();

  constructor(name: 'cri' | 'kubernetes-secrets' = 'cri') {
    this.name = name;
  }

  /** Answers all look-ups with these. */
  has(...credentials: readonly Credential[]): void {
    const candidates: readonly Candidate[] = credentials.map((credential, i) => ({ credential, entry: `entry ${i}` }));
    this.answer = () => (candidates.length === 0 ? { kind: 'none' } : { kind: 'candidates', source: this.name, candidates });
  }

  async resolve(lookup: Lookup): Promise<Answer> {
    this.lookups.push(lookup);
    return await this.answer(lookup);
  }

  refused(print: string): boolean {
    this.refusals.push(print);
    return false;
  }

  onChange(listener: (change: SourceChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  tell(change: Omit<SourceChange, 'source'>): void {
    for (const listener of this.#listeners) listener({ source: this.name, ...change });
  }

  withdraw(credential: Credential, hosts?: readonly string[]): void {
    this.tell({ ...(hosts && { hosts }), withdrawn: [fingerprint(credential)] });
  }
}
