import { basic, type Answer, type CredentialSource, type Lookup, type SourceChange } from '@soci/keychain';

/** A source of one login, which a test changes and tells of. */
export class ChangingSource implements CredentialSource {
  readonly name = 'test';
  /** `name:password`. */
  login = 'alice:old';
  isReady = true;
  readonly lookups: Lookup[] = [];
  readonly #listeners = new Set<(change: SourceChange) => void>();

  resolve(lookup: Lookup): Promise<Answer> {
    this.lookups.push(lookup);
    if (!this.isReady) return Promise.resolve({ kind: 'not-ready', reason: 'secrets are not synced yet' });
    const [name = '', password = ''] = this.login.split(':');
    return Promise.resolve({ kind: 'candidates', source: this.name, candidates: [{ credential: basic(name, password), entry: 'one' }] });
  }

  onChange(listener: (change: SourceChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  tell(hosts?: readonly string[]): void {
    for (const listener of this.#listeners) listener({ source: this.name, withdrawn: [], ...(hosts === undefined ? {} : { hosts }) });
  }
}
