export type TokenKind = 'field' | 'value' | 'quoted' | 'separator' | 'operator' | 'end' | 'illegal' | 'other';

export interface Token {
  readonly kind: TokenKind;
  /** Where the token begins, in characters. */
  readonly position: number;
  /** The token as written, quotes included. */
  readonly text: string;
}

const FIELD = /^[A-Za-z0-9_]$/;
const SPACE = /^\p{White_Space}$/u;
const GRAPHIC = /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u;
const QUOTES = new Set(['"', '/', '|']);
const SEPARATORS = new Set([',', '.']);
const OPERATORS = new Set(['=', '!', '~']);
const ESCAPES = new Set(['a', 'b', 'f', 'n', 'r', 't', 'v', '\\']);
/** How many hexadecimal digits follow. */
const NUMERIC_ESCAPES = new Map([
  ['x', 2],
  ['u', 4],
  ['U', 8],
]);
/** What Go's decoder makes of broken UTF-8; containerd refuses it. */
const REPLACEMENT = '\ufffd';

/**
 * Cuts one of containerd's filters into tokens. What a character means depends on what came before: after an operator anything
 * printable up to a comma or space is a value, elsewhere only letters, digits and underscores are a name.
 */
export class Scanner {
  readonly #characters: readonly string[];
  #position = 0;
  #expectsValue = false;
  #problem = '';

  constructor(input: string) {
    this.#characters = Array.from(input);
  }

  /** Why the last token is illegal. */
  get problem(): string {
    return this.#problem;
  }

  get position(): number {
    return this.#position;
  }

  /** The next character, spaces included; undefined at the end. */
  peek(): string | undefined {
    return this.#characters[this.#position];
  }

  scan(): Token {
    while (SPACE.test(this.peek() ?? '')) this.#position++;
    const start = this.#position;
    const character = this.peek();
    if (character === undefined) return this.#token('end', start);
    this.#position++;
    if (isIllegal(character)) return this.#illegal(start, character === '\0' ? 'unexpected null' : 'rune error');
    if (QUOTES.has(character)) return this.#quoted(start, character);
    if (SEPARATORS.has(character)) {
      this.#expectsValue = false;
      return this.#token('separator', start);
    }
    if (OPERATORS.has(character)) {
      this.#skipWhile((next) => OPERATORS.has(next));
      this.#expectsValue = true;
      return this.#token('operator', start);
    }
    if (this.#expectsValue) {
      this.#skipWhile((next) => next !== ',' && GRAPHIC.test(next) && !isIllegal(next));
      this.#expectsValue = false;
      return this.#token('value', start);
    }
    if (FIELD.test(character)) {
      this.#skipWhile((next) => FIELD.test(next));
      return this.#token('field', start);
    }
    return this.#token('other', start);
  }

  #quoted(start: number, quote: string): Token {
    let isLegal = true;
    for (;;) {
      const character = this.peek();
      if (character === undefined || character === '\n' || isIllegal(character))
        return this.#illegal(start, 'quoted literal not terminated');
      this.#position++;
      if (character === quote) return isLegal ? this.#token('quoted', start) : this.#token('illegal', start);
      if (character === '\\' && !this.#skipEscape(quote)) isLegal = false;
    }
  }

  /** Stops before the first character that does not belong to the escape. */
  #skipEscape(quote: string): boolean {
    const character = this.peek() ?? '';
    if (ESCAPES.has(character) || character === quote) {
      this.#position++;
      return true;
    }
    if (/^[0-7]$/.test(character)) return this.#skipDigits(8, 3);
    const digits = NUMERIC_ESCAPES.get(character);
    if (digits === undefined) {
      this.#problem ||= 'illegal escape sequence';
      return false;
    }
    this.#position++;
    return this.#skipDigits(16, digits);
  }

  #skipDigits(base: 8 | 16, count: number): boolean {
    const digit = base === 8 ? /^[0-7]$/ : /^[0-9A-Fa-f]$/;
    for (let i = 0; i < count; i++) {
      if (!digit.test(this.peek() ?? '')) {
        this.#problem ||= 'illegal numeric escape sequence';
        return false;
      }
      this.#position++;
    }
    return true;
  }

  #skipWhile(belongs: (character: string) => boolean): void {
    for (let next = this.peek(); next !== undefined && belongs(next); next = this.peek()) this.#position++;
  }

  #token(kind: TokenKind, start: number): Token {
    return { kind, position: start, text: this.#characters.slice(start, this.#position).join('') };
  }

  #illegal(start: number, problem: string): Token {
    this.#problem ||= problem;
    return this.#token('illegal', start);
  }
}

function isIllegal(character: string): boolean {
  return character === '\0' || character === REPLACEMENT;
}
