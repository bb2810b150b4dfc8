import { isUtf8 } from 'node:buffer';

const REPLACEMENT = '\ufffd';

/** Decodes UTF-8 as Go's JSON decoder does: each byte that is not part of a whole character becomes one U+FFFD. */
export function decodeGoUtf8(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(buffer)) return buffer.toString('utf8');
  const parts: string[] = [];
  let valid = 0;
  for (let at = 0; at < buffer.length; ) {
    const length = characterLength(buffer, at);
    if (length > 0) {
      at += length;
      continue;
    }
    parts.push(buffer.toString('utf8', valid, at), REPLACEMENT);
    valid = ++at;
  }
  parts.push(buffer.toString('utf8', valid));
  return parts.join('');
}

/** Bytes of the whole character that begins at `at`; 0 when there is none. */
function characterLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] ?? 0;
  if (lead < 0x80) return 1;
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  return isUtf8(bytes.subarray(at, at + length)) ? length : 0;
}
