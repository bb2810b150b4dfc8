const MAX_CHARACTERS = 200;
const HIDDEN = '…';
const PLAIN_WORD = /^[('`]?[A-Za-z]{1,20}[)'`]?[.,:;!?]?$/;
const STRUCTURED = /[{}[\]=]/;
const ANNOUNCES_SECRET =
  /^[("'`]?(?:auth|authorization|bearer|key|pass|passphrase|password|pw|pwd|secret|token|username|user)[)"'`]?(?:[:;,]|$)/i;

/**
 * What may be shown of a foreign program's output, which may hold a secret: the plain words of its first line. Anything with a digit or a sign in it, whatever
 * follows a word like `password`, a line of a single word and one that looks like data are left out, so that `gpg: decryption failed` stays and a password or token does not.
 */
export function plainWords(output: string): string {
  const [line = ''] = output
    .trim()
    .slice(0, MAX_CHARACTERS)
    .split(/[\r\n]/, 1);
  const words = line.split(/\s+/).filter((word) => word !== '');
  if (words.length < 2 || STRUCTURED.test(line)) return '';
  let announced = false;
  const shown = words.map((word) => {
    const plain = PLAIN_WORD.test(word) && !announced;
    announced = ANNOUNCES_SECRET.test(word);
    return plain ? word : HIDDEN;
  });
  return shown.every((word) => word === HIDDEN) ? '' : shown.join(' ').replace(/(?:… ){2,}/g, '… ');
}
