/** What `goJson` writes: objects print their keys in the order they have, maps (Go's maps) sorted by the bytes of the key, undefined members not at all. */
export type GoJsonValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | readonly GoJsonValue[]
  | ReadonlyMap<string, string>
  | { readonly [key: string]: GoJsonValue | undefined };

const MAX_DEPTH = 100;

/** What Go's encoder writes otherwise than `JSON.stringify`: HTML's three characters and the two line separators; short forms for \b and \f it shares. */
const ESCAPED_BY_GO = /[<>&\u2028\u2029]/g;

/**
 * Compact JSON exactly as Go's `encoding/json` writes it (`json.Marshal`, HTML escaping on).
 *
 * Strings must hold whole characters: a lone surrogate prints as U+FFFD, which is what Go's decoder makes of it.
 *
 * @throws {RangeError} for a number that is not an integer JavaScript holds exactly, or a value nested deeper than 100
 */
export function goJson(value: GoJsonValue): string {
  return write(value, 0);
}

function write(value: GoJsonValue, depth: number): string {
  if (depth > MAX_DEPTH) throw new RangeError('value nested too deep');
  if (value === null) return 'null';
  switch (typeof value) {
    case 'string':
      return writeString(value);
    case 'number':
      if (!Number.isSafeInteger(value)) throw new RangeError(`not an exact integer: ${value}`);
      return String(value);
    case 'bigint':
    case 'boolean':
      return String(value);
    default:
      return writeComposite(value, depth);
  }
}

function writeComposite(value: Exclude<GoJsonValue, string | number | bigint | boolean | null>, depth: number): string {
  if (isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(',')}]`;
  if (isMap(value)) {
    const entries = [...value].map(([key, text]) => ({ key: Buffer.from(key), text: `${writeString(key)}:${writeString(text)}` }));
    entries.sort((a, b) => Buffer.compare(a.key, b.key));
    return `{${entries.map(({ text }) => text).join(',')}}`;
  }
  const members: string[] = [];
  for (const [key, member] of Object.entries(value)) {
    if (member !== undefined) members.push(`${writeString(key)}:${write(member, depth + 1)}`);
  }
  return `{${members.join(',')}}`;
}

function writeString(text: string): string {
  return JSON.stringify(text.toWellFormed()).replace(ESCAPED_BY_GO, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function isArray(value: GoJsonValue): value is readonly GoJsonValue[] {
  return Array.isArray(value);
}

function isMap(value: GoJsonValue): value is ReadonlyMap<string, string> {
  return value instanceof Map;
}
