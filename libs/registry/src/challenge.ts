import { RegistryError } from './errors.ts';

/** One challenge of a `WWW-Authenticate` header. */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** By lower-case name. */
  readonly params: ReadonlyMap<string, string>;
}

export interface BearerChallenge extends Challenge {
  readonly scheme: 'bearer';
  /** Absolute; not yet judged whether it may be asked. */
  readonly realm: URL;
}

export interface BasicChallenge extends Challenge {
  readonly scheme: 'basic';
}

export type UsableChallenge = BearerChallenge | BasicChallenge;

const MAX_HEADER_CHARACTERS = 8 * 1024;
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const TOKEN68 = /[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y;
const BLANKS = /[ \t]*/y;
const UNQUOTED = /[^ \t,"]*/y;

/**
 * Splits the challenges out of `WWW-Authenticate` lines, any number in each: HTTP libraries join repeated lines by a comma, and some registries do so themselves.
 * What is broken is left out, what was complete before it is kept. Takes linear time.
 *
 * @throws {RegistryError} `CHALLENGE_UNSUPPORTED` when the lines are longer than any sane challenge
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
 */
export function parseChallenges(lines: readonly string[]): Challenge[] {
  if (lines.reduce((sum, line) => sum + line.length, 0) > MAX_HEADER_CHARACTERS) {
    throw new RegistryError('CHALLENGE_UNSUPPORTED', `WWW-Authenticate is longer than ${MAX_HEADER_CHARACTERS} characters`);
  }
  return lines.flatMap((line) => new LineParser(line).challenges());
}

/** The challenges that we can answer, Bearer before Basic, whatever their order. */
export function byPreference(challenges: readonly Challenge[]): Challenge[] {
  return ['bearer', 'basic'].flatMap((wanted) => challenges.filter(({ scheme }) => scheme === wanted));
}

/**
 * The challenge to answer.
 *
 * @throws {RegistryError} `CHALLENGE_UNSUPPORTED` when there is no scheme we know, or only a Bearer challenge without a realm that is an absolute URL
 */
export function chooseChallenge(challenges: readonly Challenge[]): UsableChallenge {
  const known = byPreference(challenges);
  for (const { scheme, params } of known) {
    if (scheme === 'basic') return { scheme, params };
    const realm = absoluteUrl(params.get('realm') ?? '');
    if (realm !== undefined) return { scheme: 'bearer', params, realm };
  }
  if (known.length > 0) throw new RegistryError('CHALLENGE_UNSUPPORTED', 'bearer challenge without a realm that is an absolute URL');
  const schemes = challenges.map(({ scheme }) => scheme).join(', ') || 'none';
  throw new RegistryError('CHALLENGE_UNSUPPORTED', `unsupported authentication scheme: ${schemes}`);
}

class LineParser {
  readonly #line: string;
  #at = 0;

  constructor(line: string) {
    this.#line = line;
  }

  challenges(): Challenge[] {
    const found: { scheme: string; params: Map<string, string> }[] = [];
    for (;;) {
      this.#take(BLANKS);
      while (this.#skip(',')) this.#take(BLANKS);
      const token = this.#take(TOKEN);
      if (token === '') return found; // the end, or rubbish
      const spaces = this.#take(BLANKS);
      if (this.#skip('=')) {
        const value = this.#value();
        if (value === undefined) return found; // a quote that does not end: this parameter is lost
        const params = found.at(-1)?.params;
        const name = token.toLowerCase();
        if (params !== undefined && !params.has(name)) params.set(name, value);
      } else {
        found.push({ scheme: token.toLowerCase(), params: new Map() });
        if (spaces !== '') this.#take(TOKEN68); // data of a scheme such as Negotiate
      }
    }
  }

  #value(): string | undefined {
    this.#take(BLANKS);
    if (!this.#skip('"')) return this.#take(UNQUOTED);
    let value = '';
    for (;;) {
      const char = this.#line[this.#at++];
      if (char === undefined) return undefined;
      if (char === '"') return value;
      value += char === '\\' ? (this.#line[this.#at++] ?? '') : char;
    }
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const text = pattern.exec(this.#line)?.[0] ?? '';
    this.#at += text.length;
    return text;
  }

  #skip(char: string): boolean {
    if (this.#line[this.#at] !== char) return false;
    this.#at++;
    return true;
  }
}

function absoluteUrl(text: string): URL | undefined {
  const url = URL.parse(text);
  return url !== null && /^https?:\/\//i.test(text) && url.host !== '' ? url : undefined;
}
