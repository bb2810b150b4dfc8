import { charClass, escapedClass, POSIX_CLASSES, type CharTest } from './go-regexp-class.ts';

/** A parsed expression. Laziness and captures are dropped: they do not change whether something matches. */
export type Node =
  | { readonly kind: 'char'; readonly test: CharTest }
  | { readonly kind: 'assert'; readonly assertion: Assertion }
  | { readonly kind: 'sequence'; readonly nodes: readonly Node[] }
  | { readonly kind: 'choice'; readonly nodes: readonly Node[] }
  | { readonly kind: 'repeat'; readonly node: Node; readonly min: number; readonly max: number };

export type Assertion = 'text-start' | 'text-end' | 'line-start' | 'line-end' | 'word-boundary' | 'no-word-boundary';

/** The expression is not one of RE2's, or uses a part of it that is not understood here. */
export class GoRegexpError extends Error {
  override readonly name = 'GoRegexpError';
}

const MAX_LENGTH = 1024;
/** RE2's own limit. */
const MAX_REPEAT = 1000;

interface Flags {
  readonly ignoreCase: boolean;
  readonly multiLine: boolean;
  readonly dotAll: boolean;
}

const NO_FLAGS: Flags = { ignoreCase: false, multiLine: false, dotAll: false };
const FLAG_NAMES = new Map<string, keyof Flags | undefined>([
  ['i', 'ignoreCase'],
  ['m', 'multiLine'],
  ['s', 'dotAll'],
  ['U', undefined],
]);
const CONTROL_ESCAPES = new Map([
  ['a', '\x07'],
  ['f', '\f'],
  ['t', '\t'],
  ['n', '\n'],
  ['r', '\r'],
  ['v', '\v'],
]);

/**
 * Parses an RE2 expression as Go's regexp package reads it.
 *
 * @throws {GoRegexpError} for anything Go refuses, and for an expression longer than 1,024 characters
 * @see https://github.com/google/re2/wiki/Syntax
 */
export function parseGoRegexp(source: string): Node {
  if (source.length > MAX_LENGTH) {
    throw new GoRegexpError(`regular expression of ${source.length} characters, at most ${MAX_LENGTH} are taken`);
  }
  return new Parser(source).parse();
}

class Parser {
  readonly #source: readonly string[];
  #position = 0;
  #flags = NO_FLAGS;

  constructor(source: string) {
    this.#source = Array.from(source);
  }

  parse(): Node {
    const node = this.#choice();
    if (this.#position < this.#source.length) throw this.#mistake('unexpected )');
    return node;
  }

  #choice(): Node {
    const flags = this.#flags;
    const nodes = [this.#sequence()];
    while (this.#take('|')) nodes.push(this.#sequence());
    this.#flags = flags;
    return nodes.length === 1 && nodes[0] !== undefined ? nodes[0] : { kind: 'choice', nodes };
  }

  #sequence(): Node {
    const nodes: Node[] = [];
    for (;;) {
      const next = this.#peek();
      if (next === undefined || next === '|' || next === ')') return { kind: 'sequence', nodes };
      if (this.#takeText('\\Q')) nodes.push(...this.#literalText());
      else {
        const atom = this.#atom() ?? nodes.pop(); // a repetition behind flags is one of what came before them, as in Go
        if (atom !== undefined) nodes.push(this.#repeated(atom));
      }
    }
  }

  #repeated(atom: Node): Node {
    const range = this.#repetition();
    if (range === undefined) return atom;
    this.#take('?');
    const before = this.#position;
    if (this.#repetition() !== undefined) {
      this.#position = before;
      throw this.#mistake('invalid nested repetition operator');
    }
    return { kind: 'repeat', node: atom, ...range };
  }

  #repetition(): { readonly min: number; readonly max: number } | undefined {
    if (this.#take('*')) return { min: 0, max: Infinity };
    if (this.#take('+')) return { min: 1, max: Infinity };
    if (this.#take('?')) return { min: 0, max: 1 };
    const match = /^\{(\d+)(,(\d*))?\}/.exec(this.#rest(20));
    if (match === null) return undefined;
    const min = Number(match[1]);
    const max = match[2] === undefined ? min : match[3] === '' ? Infinity : Number(match[3]);
    if (min > MAX_REPEAT || (max !== Infinity && (max > MAX_REPEAT || max < min))) throw this.#mistake(`invalid repeat count ${match[0]}`);
    this.#position += match[0].length;
    return { min, max };
  }

  /** Undefined for what sets flags and matches nothing. */
  #atom(): Node | undefined {
    if (this.#repetition() !== undefined) throw this.#mistake('missing argument to repetition operator');
    const character = this.#next();
    switch (character) {
      case '(':
        return this.#group();
      case '[':
        return this.#class();
      case '.':
        return { kind: 'char', test: this.#flags.dotAll ? () => true : (c) => c !== '\n' };
      case '^':
        return assert(this.#flags.multiLine ? 'line-start' : 'text-start');
      case '$':
        return assert(this.#flags.multiLine ? 'line-end' : 'text-end');
      case '\\':
        return this.#escape();
      default:
        return this.#literal(character);
    }
  }

  #group(): Node | undefined {
    if (!this.#take('?')) return this.#closeGroup();
    const name = /^P?<[A-Za-z0-9_]+>/.exec(this.#rest(MAX_LENGTH));
    if (name !== null) {
      this.#position += name[0].length;
      return this.#closeGroup();
    }
    const outer = this.#flags;
    this.#flags = this.#readFlags();
    if (this.#take(')')) return undefined; // holds until the end of the enclosing group
    if (!this.#take(':')) throw this.#mistake('invalid or unsupported group');
    const node = this.#closeGroup();
    this.#flags = outer;
    return node;
  }

  #closeGroup(): Node {
    const node = this.#choice();
    if (!this.#take(')')) throw this.#mistake('missing )');
    return node;
  }

  #readFlags(): Flags {
    const flags: Record<keyof Flags, boolean> = { ...this.#flags };
    let value = true;
    for (let next = this.#peek(); next !== undefined && next !== ')' && next !== ':'; next = this.#peek()) {
      this.#position++;
      if (next === '-' && value) value = false;
      else if (FLAG_NAMES.has(next)) {
        const flag = FLAG_NAMES.get(next);
        if (flag !== undefined) flags[flag] = value;
      } else throw this.#mistake('invalid or unsupported group');
    }
    return flags;
  }

  #escape(): Node {
    if (this.#take('A')) return assert('text-start');
    if (this.#take('z')) return assert('text-end');
    if (this.#take('b')) return assert('word-boundary');
    if (this.#take('B')) return assert('no-word-boundary');
    const escaped = this.#escapedClass();
    if (escaped !== undefined) return { kind: 'char', test: charClass([escaped], false, this.#flags.ignoreCase) };
    return this.#literal(this.#escapedCharacter());
  }

  /** The inside of a class for `\d`, `\pL` and the like, or undefined when a single character is escaped. */
  #escapedClass(): string | undefined {
    const match = /^(?:[dDsSwW]|[pP](?:\{\^?[A-Za-z_]+\}|[A-Z]))/.exec(this.#rest(64));
    if (match === null) return undefined;
    this.#position += match[0].length;
    const escaped = escapedClass(match[0]);
    if (escaped === undefined) throw this.#mistake(`unknown character class \\${match[0]}`);
    return escaped;
  }

  #escapedCharacter(): string {
    const match = /^(?:x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,6})\}|(0[0-7]{0,2}|[1-7][0-7]{1,2}))/.exec(this.#rest(12));
    if (match !== null) {
      this.#position += match[0].length;
      const hex = match[1] ?? match[2];
      const value = hex === undefined ? parseInt(match[3] ?? '', 8) : parseInt(hex, 16);
      if (value > 0x10ffff) throw this.#mistake('invalid escape sequence');
      return String.fromCodePoint(value);
    }
    const character = this.#next();
    const control = CONTROL_ESCAPES.get(character);
    if (control !== undefined) return control;
    if (/^[\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e \x00-\x1f\x7f]$/.test(character)) return character;
    throw this.#mistake(`invalid escape sequence \\${character}`);
  }

  #class(): Node {
    const isNegated = this.#take('^');
    const items: string[] = [];
    let isFirst = true;
    while (isFirst || !this.#take(']')) {
      isFirst = false;
      items.push(this.#classItem());
    }
    return { kind: 'char', test: charClass(items, isNegated, this.#flags.ignoreCase) };
  }

  #classItem(): string {
    const posix = /^\[:\^?[a-z]+:\]/.exec(this.#rest(16));
    if (posix !== null) {
      const item = POSIX_CLASSES.get(posix[0].replace('^', ''));
      if (item === undefined) throw this.#mistake(`unknown character class ${posix[0]}`);
      this.#position += posix[0].length;
      return posix[0].startsWith('[:^') ? `[^${item}]` : item;
    }
    if (this.#peek() === '\\') {
      this.#position++;
      const escaped = this.#escapedClass();
      if (escaped !== undefined) return escaped;
      this.#position--;
    }
    const low = this.#classCharacter();
    const isRange = this.#peek() === '-' && this.#source[this.#position + 1] !== ']' && this.#source[this.#position + 1] !== undefined;
    if (!isRange) return spelled(low);
    this.#position++;
    const high = this.#classCharacter();
    if ((low.codePointAt(0) ?? 0) > (high.codePointAt(0) ?? 0)) throw this.#mistake(`invalid character class range ${low}-${high}`);
    return `${spelled(low)}-${spelled(high)}`;
  }

  #classCharacter(): string {
    const character = this.#next('missing ]');
    return character === '\\' ? this.#escapedCharacter() : character;
  }

  #literalText(): readonly Node[] {
    const nodes: Node[] = [];
    while (this.#position < this.#source.length && !this.#takeText('\\E')) nodes.push(this.#literal(this.#next()));
    const last = nodes.pop();
    return last === undefined ? nodes : [...nodes, this.#repeated(last)];
  }

  #literal(character: string): Node {
    if (!this.#flags.ignoreCase) return { kind: 'char', test: (c) => c === character };
    return { kind: 'char', test: charClass([spelled(character)], false, true) };
  }

  #peek(): string | undefined {
    return this.#source[this.#position];
  }

  #next(problem = 'trailing backslash'): string {
    const character = this.#source[this.#position];
    if (character === undefined) throw this.#mistake(problem);
    this.#position++;
    return character;
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#position++;
    return true;
  }

  #takeText(text: string): boolean {
    if (this.#rest(text.length) !== text) return false;
    this.#position += text.length;
    return true;
  }

  #rest(length: number): string {
    return this.#source.slice(this.#position, this.#position + length).join('');
  }

  #mistake(problem: string): GoRegexpError {
    return new GoRegexpError(`regular expression, character ${this.#position + 1}: ${problem}`);
  }
}

function assert(assertion: Assertion): Node {
  return { kind: 'assert', assertion };
}

function spelled(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
