const MAX_SHOWN_BYTES = 200;

/** A name for an error message: quoted, control characters escaped, cut when long. */
export function printable(bytes: Uint8Array, start = 0, end = bytes.length): string {
  const shown = new TextDecoder().decode(bytes.subarray(start, Math.min(end, start + MAX_SHOWN_BYTES)));
  return JSON.stringify(end - start > MAX_SHOWN_BYTES ? `${shown}...` : shown);
}
