import type { Credential } from './credential.ts';
import { KeychainError } from './errors.ts';
import { ANONYMOUS, basic } from './credential.ts';
import { registryOf } from './hub.ts';
import { none, type Answer, type CredentialSource, type Lookup } from './source.ts';

export interface StaticSourceOptions {
  /** Name for messages: `--user`. */
  readonly name: string;
  readonly credential: Credential;
  /** The only registry that gets it (all names of Docker Hub are one registry). Nobody else does, wherever a redirect leads. */
  readonly host: string;
}

/** One credential for one registry, as given on a command line. */
export class StaticSource implements CredentialSource {
  readonly name: string;
  readonly #credential: Credential;
  readonly #host: string;

  constructor({ name, credential, host }: StaticSourceOptions) {
    this.name = name;
    this.#credential = credential;
    this.#host = registryOf(host);
  }

  resolve(lookup: Lookup): Promise<Answer> {
    if (registryOf(lookup.host) !== this.#host) return Promise.resolve(none(`for ${this.#host} only`));
    return Promise.resolve({ kind: 'candidates', source: this.name, candidates: [{ credential: this.#credential, entry: this.#host }] });
  }
}

/**
 * Reads the value of `--user`: `name:password`, cut at the first colon; `name` alone has an empty password; an empty value is anonymous.
 *
 * @throws {KeychainError} `USER_INVALID` for a value without a user name
 */
export function parseUserFlag(value: string): Credential {
  if (value === '') return ANONYMOUS;
  const colon = value.indexOf(':');
  if (colon === 0) throw new KeychainError('USER_INVALID', '--user: the user name before the colon is empty');
  return colon < 0 ? basic(value, '') : basic(value.slice(0, colon), value.slice(colon + 1));
}

/** What a command line means by `--user`: the flag, if given, serves the image's registry alone and nothing else is asked; without it `otherwise` is. */
export function commandLineSource(
  flag: { readonly user: string | undefined; readonly host: string },
  otherwise: CredentialSource,
): CredentialSource {
  if (flag.user === undefined) return otherwise;
  return new StaticSource({ name: '--user', credential: parseUserFlag(flag.user), host: flag.host });
}
