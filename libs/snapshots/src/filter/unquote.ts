const SIMPLE_ESCAPES = new Map([
  ['a', 7],
  ['b', 8],
  ['f', 12],
  ['n', 10],
  ['r', 13],
  ['t', 9],
  ['v', 11],
  ['\\', 92],
]);
const ESCAPE = /\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-7]{3})|([^]))|([^\\]+)/gy;

/**
 * The value of a quoted string after Go's rules: `\n`, `\x41`, `\101`, `\u00e9`, `\U0001f600`, and the quote itself behind a backslash.
 *
 * @param text the string with its quotes, as the scanner cut it out
 * @returns undefined when Go would refuse it
 * @see https://go.dev/ref/spec#String_literals
 */
export function unquote(text: string): string | undefined {
  const quote = text.at(0);
  const body = text.slice(1, -1);
  if (!body.includes('\\')) return body;
  const parts: Buffer[] = [];
  let end = 0;
  for (const match of body.matchAll(ESCAPE)) {
    const bytes = unescape(match, quote);
    if (bytes === undefined) return undefined;
    parts.push(bytes);
    end = match.index + match[0].length;
  }
  return end === body.length ? Buffer.concat(parts).toString('utf8') : undefined;
}

/** `\x` and octal escapes stand for bytes, the others for characters. */
function unescape(match: RegExpExecArray, quote: string | undefined): Buffer | undefined {
  const [, hexByte, short, long, octal, simple, plain] = match;
  if (plain !== undefined) return Buffer.from(plain);
  if (hexByte !== undefined) return Buffer.of(parseInt(hexByte, 16));
  const codePoint = short ?? long;
  if (codePoint !== undefined) return fromCodePoint(parseInt(codePoint, 16));
  if (octal !== undefined) {
    const value = parseInt(octal, 8);
    return value > 255 ? undefined : Buffer.of(value);
  }
  if (simple === quote) return Buffer.from(simple ?? '');
  const value = SIMPLE_ESCAPES.get(simple ?? '');
  return value === undefined ? undefined : Buffer.of(value);
}

function fromCodePoint(value: number): Buffer | undefined {
  return value > 0x10ffff ? undefined : Buffer.from(String.fromCodePoint(value));
}
