/** A JSON object as Go's decoder sees it: members in order, doubles kept, so that the reader decides what a double means. */
export class JsonObject {
  readonly members: readonly (readonly [name: string, value: JsonValue])[];

  constructor(members: readonly (readonly [string, JsonValue])[]) {
    this.members = members;
  }

  /** Values of the members called so, whatever the letter case, in order: Go's decoder matches names without regard to case. */
  all(name: string): JsonValue[] {
    return this.members.filter(([member]) => member.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  }
}

export type JsonValue = string | number | boolean | null | JsonObject | readonly JsonValue[];

const MAX_DEPTH = 64;
const TOKEN = /[\t\n\r ]*(?:([{}[\],:])|("[^"\\\u0000-\u001f]*(?:\\.[^"\\\u0000-\u001f]*)*")|(-?[0-9][0-9.eE+-]*|true|false|null))/y;

/**
 * Reads the first JSON value of a text, as Go's stream decoder does: what follows it is not looked at.
 *
 * `JSON.parse` will not do for files that Go programs read: it refuses text behind the value, and loses a member that is given twice
 * (Go merges the two when they are maps).
 *
 * @returns the value and the text behind it, or undefined when there is nothing but blanks
 * @throws {SyntaxError} without a piece of the input in its message: it may hold secrets
 */
export function readFirstValue(text: string): { readonly value: JsonValue; readonly rest: string } | undefined {
  if (/^[\t\n\r ]*$/.test(text)) return undefined;
  const reader = new Reader(text);
  const value = reader.value(0);
  return { value, rest: text.slice(reader.position) };
}

class Reader {
  position = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number, token: string = this.#next()): JsonValue {
    if (depth > MAX_DEPTH) throw new SyntaxError(`JSON nested deeper than ${MAX_DEPTH}`);
    if (token === '{') return this.#object(depth);
    if (token === '[') return this.#array(depth);
    if (token === '' || '}],:'.includes(token)) throw this.#unexpected();
    return this.#scalar(token);
  }

  #object(depth: number): JsonObject {
    const members: [string, JsonValue][] = [];
    let token = this.#next();
    if (token === '}') return new JsonObject(members);
    for (;;) {
      if (!token.startsWith('"')) throw this.#unexpected();
      const name = this.#scalar(token) as string;
      if (this.#next() !== ':') throw this.#unexpected();
      members.push([name, this.value(depth + 1)]);
      const end = this.#next();
      if (end === '}') return new JsonObject(members);
      if (end !== ',') throw this.#unexpected();
      token = this.#next();
    }
  }

  #array(depth: number): JsonValue[] {
    const items: JsonValue[] = [];
    let token = this.#next();
    if (token === ']') return items;
    for (;;) {
      items.push(this.value(depth + 1, token));
      const end = this.#next();
      if (end === ']') return items;
      if (end !== ',') throw this.#unexpected();
      token = this.#next();
    }
  }

  #scalar(token: string): string | number | boolean | null {
    try {
      return JSON.parse(token) as string | number | boolean | null;
    } catch {
      throw this.#unexpected(); // the parser's own message quotes the text
    }
  }

  #next(): string {
    TOKEN.lastIndex = this.position;
    const match = TOKEN.exec(this.#text);
    if (match === null) throw this.#unexpected();
    this.position = TOKEN.lastIndex;
    return match[1] ?? match[2] ?? match[3] ?? '';
  }

  #unexpected(): SyntaxError {
    return new SyntaxError(`not JSON near character ${this.position}`);
  }
}
