/** Bytes of a text, not necessarily UTF-8: `bytes` from `start` to `end`, exclusive. */
export interface TarText {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

const NOTHING = new Uint8Array(0);

/** A `TarText` that points elsewhere for each entry. */
export class MutableText implements TarText {
  bytes: Uint8Array = NOTHING;
  start = 0;
  end = 0;

  set(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }

  /** A field of a header: up to its first NUL, or whole. */
  setField(bytes: Uint8Array, start: number, length: number): void {
    this.set(bytes, start, fieldEnd(bytes, start, length));
  }

  clear(): void {
    this.set(NOTHING, 0, 0);
  }
}

/** Where the text in a header field ends: at its first NUL. */
export function fieldEnd(bytes: Uint8Array, start: number, length: number): number {
  let end = start;
  while (end < start + length && bytes[end] !== 0) end++;
  return end;
}

/** Whether the bytes at `start` are this ASCII text. */
export function startsWith(bytes: Uint8Array, start: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (bytes[start + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}
