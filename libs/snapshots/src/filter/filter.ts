import { SnapshotError } from '../errors.ts';
import { compileGoRegexp, GoRegexpError, type GoRegexp } from './go-regexp.ts';
import { Scanner, type Token } from './scanner.ts';
import { unquote } from './unquote.ts';

/** The value under a field path, e.g. `['labels', 'a.b']`; undefined when it is not there. */
export type Fields = (path: readonly string[]) => string | undefined;

export type Filter = (fields: Fields) => boolean;

/** Clients send one to three of some hundred characters. */
const MAX_FILTERS = 1000;
const MAX_FILTER_LENGTH = 16_384;

const MATCHES_ALL: Filter = () => true;

/**
 * Parses filters in containerd's language: `<fieldpath>[<operator><value>]`, where the operator is `==`, `!=` or `~=` (an RE2 expression) and
 * without one the field has to be there; parts of a path and values may be quoted with `"`, expressions also with `/` and `|`. A comma means and.
 *
 * @param filters what matches any of them matches; none at all, or an empty one, matches everything
 * @throws {SnapshotError} `INVALID_ARGUMENT`, with the place of the mistake
 * @see https://pkg.go.dev/github.com/containerd/containerd/v2/pkg/filters
 */
export function parseFilters(filters: readonly string[]): Filter {
  if (filters.length === 0) return MATCHES_ALL;
  if (filters.length > MAX_FILTERS)
    throw new SnapshotError('INVALID_ARGUMENT', `${filters.length} filters, at most ${MAX_FILTERS} are taken`);
  const parsed = filters.map((filter) => parseFilter(filter));
  return (fields) => parsed.some((filter) => filter(fields));
}

function parseFilter(input: string): Filter {
  if (input === '') return MATCHES_ALL;
  if (input.length > MAX_FILTER_LENGTH) {
    throw new SnapshotError('INVALID_ARGUMENT', `a filter of ${input.length} characters, at most ${MAX_FILTER_LENGTH} are taken`);
  }
  return new FilterParser(input).parse();
}

class FilterParser {
  readonly #input: string;
  readonly #scanner: Scanner;

  constructor(input: string) {
    this.#input = input;
    this.#scanner = new Scanner(input);
  }

  parse(): Filter {
    const selectors = [this.#selector()];
    for (;;) {
      const next = this.#scanner.peek();
      if (next === undefined) return (fields) => selectors.every((selector) => selector(fields));
      if (next !== ',') throw this.#mistake(this.#scanner.position, `unexpected input: ${next}`);
      this.#scanner.scan();
      selectors.push(this.#selector());
    }
  }

  #selector(): Filter {
    const path = this.#fieldPath();
    const next = this.#scanner.peek();
    if (next === undefined || next === ',') return (fields) => fields(path) !== undefined;
    const operator = this.#operator();
    const { position, value } = this.#value(operator === '~=');
    switch (operator) {
      case '==':
        return (fields) => fields(path) === value;
      case '!=':
        return (fields) => (fields(path) ?? '') !== value;
      case '~=': {
        const expression = this.#expression(position, value);
        return (fields) => expression.test(fields(path) ?? '');
      }
    }
  }

  #fieldPath(): readonly string[] {
    const path = [this.#field()];
    while (this.#scanner.peek() === '.') {
      this.#scanner.scan();
      path.push(this.#field());
    }
    return path;
  }

  #field(): string {
    const token = this.#scanner.scan();
    if (token.kind === 'field') return token.text;
    if (token.kind === 'quoted') return this.#unquote(token, false);
    throw this.#unexpected(token, 'expected field or quoted');
  }

  #operator(): '==' | '!=' | '~=' {
    const token = this.#scanner.scan();
    const { kind, text, position } = token;
    if (kind !== 'operator') throw this.#unexpected(token, 'expected an operator ("=="|"!="|"~=")');
    if (text === '==' || text === '!=' || text === '~=') return text;
    throw this.#mistake(position, `unsupported operator ${text}`);
  }

  #value(isExpression: boolean): { readonly position: number; readonly value: string } {
    const token = this.#scanner.scan();
    const { kind, text, position } = token;
    if (kind === 'value' || kind === 'field') return { position, value: text };
    if (kind === 'quoted') return { position, value: this.#unquote(token, isExpression) };
    throw this.#unexpected(token, 'expected value or quoted');
  }

  #unquote({ text, position }: Token, isExpression: boolean): string {
    if (!isExpression && !text.startsWith('"')) throw this.#mistake(position, 'invalid quote encountered');
    const value = unquote(text);
    if (value === undefined) throw this.#mistake(position, 'unquoting failed');
    return value;
  }

  #expression(position: number, source: string): GoRegexp {
    try {
      return compileGoRegexp(source);
    } catch (cause) {
      if (cause instanceof GoRegexpError) throw this.#mistake(position, cause.message);
      throw cause;
    }
  }

  #unexpected({ kind, position }: Token, expected: string): SnapshotError {
    return this.#mistake(position, kind === 'illegal' ? this.#scanner.problem : expected);
  }

  #mistake(position: number, message: string): SnapshotError {
    const characters = Array.from(this.#input);
    const at = characters[position];
    const shown =
      at === undefined ? this.#input : `${characters.slice(0, position).join('')} >|${at}|< ${characters.slice(position + 1).join('')}`;
    return new SnapshotError('INVALID_ARGUMENT', `filter [${shown}]: ${message}`);
  }
}
