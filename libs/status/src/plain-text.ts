const MAX_LENGTH = 500;

/**
 * A text of a source as it may be shown on a terminal: on one line, without control characters, without the user information of an address
 * (a key of config.json may be a whole URL), and not longer than a few lines.
 */
export function plainText(text: string): string {
  const plain = text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(/\/\/\S*@/g, '//')
    .trim();
  return plain.length <= MAX_LENGTH ? plain : `${plain.slice(0, MAX_LENGTH)}…`;
}
