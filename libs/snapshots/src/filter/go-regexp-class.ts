/** Whether one character (a code point) belongs. */
export type CharTest = (character: string) => boolean;

const DIGIT = '0-9';
const SPACE = '\\t\\n\\f\\r\\u{20}';
const WORD = '0-9A-Za-z_';
const PERL_CLASSES = new Map([
  ['d', DIGIT],
  ['D', `[^${DIGIT}]`],
  ['s', SPACE],
  ['S', `[^${SPACE}]`],
  ['w', WORD],
  ['W', `[^${WORD}]`],
]);

/** As the inside of a JavaScript class. */
export const POSIX_CLASSES: ReadonlyMap<string, string> = new Map([
  ['[:alnum:]', '0-9A-Za-z'],
  ['[:alpha:]', 'A-Za-z'],
  ['[:ascii:]', '\\u{0}-\\u{7f}'],
  ['[:blank:]', '\\t\\u{20}'],
  ['[:cntrl:]', '\\u{0}-\\u{1f}\\u{7f}'],
  ['[:digit:]', DIGIT],
  ['[:graph:]', '\\u{21}-\\u{7e}'],
  ['[:lower:]', 'a-z'],
  ['[:print:]', '\\u{20}-\\u{7e}'],
  ['[:punct:]', '\\u{21}-\\u{2f}\\u{3a}-\\u{40}\\u{5b}-\\u{60}\\u{7b}-\\u{7e}'],
  ['[:space:]', '\\t\\n\\v\\f\\r\\u{20}'],
  ['[:upper:]', 'A-Z'],
  ['[:word:]', WORD],
  ['[:xdigit:]', '0-9A-Fa-f'],
]);

const GENERAL_CATEGORY = /^(?:L[ulmto]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfosn]?)$/;

/**
 * The inside of a JavaScript class for RE2's `\d`, `\pL`, `\p{Greek}`, `\P{^Lu}` and so on.
 * @param escape without its backslash
 * @returns undefined for an unknown Unicode class
 */
export function escapedClass(escape: string): string | undefined {
  const perl = PERL_CLASSES.get(escape);
  if (perl !== undefined) return perl;
  const name = escape.slice(1).replace(/[{^}]/g, '');
  const isNegated = escape.startsWith('P') !== escape.includes('^');
  if (name === 'Any') return isNegated ? '[]' : '[^]';
  const property = `\\${isNegated ? 'P' : 'p'}{${GENERAL_CATEGORY.test(name) ? name : `Script=${name}`}}`;
  return isValid(property) ? property : undefined;
}

/** A test for one character; JavaScript's `v` classes fold case as RE2 does and nest, and on one character they cannot backtrack. */
export function charClass(items: readonly string[], isNegated: boolean, ignoreCase: boolean): CharTest {
  const expression = new RegExp(`^[${isNegated ? '^' : ''}${items.join('')}]$`, ignoreCase ? 'vi' : 'v');
  return (character) => expression.test(character);
}

function isValid(property: string): boolean {
  try {
    return new RegExp(property, 'v').source !== '';
  } catch (cause) {
    if (cause instanceof SyntaxError) return false;
    throw cause;
  }
}
