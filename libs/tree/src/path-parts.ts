import { printable } from './printable.ts';
import { TreeError } from './tree-error.ts';

const MAX_NAME_BYTES = 255;
/** PATH_MAX less the NUL. */
export const MAX_PATH_BYTES = 4095;
/** As many components as a path of `MAX_PATH_BYTES` can have. */
export const MAX_DEPTH = 2048;

const SLASH = 0x2f;
const DOT = 0x2e;

/** The components of a path as ranges of a buffer; used again for every path. */
export class PathParts {
  readonly start = new Uint32Array(MAX_DEPTH);
  readonly end = new Uint32Array(MAX_DEPTH);
  count = 0;
  /** How many `..` were left over at the front: above the directory the path starts from. */
  ups = 0;
  isAbsolute = false;

  /**
   * Splits a path by its text alone: empty components and `.` fall away, `..` takes the component before it.
   *
   * @throws {TreeError} `INVALID_NAME` for NUL, `NAME_TOO_LONG` for a component over 255 or a path over 4095 bytes
   */
  parse(bytes: Uint8Array, from: number, to: number): void {
    if (to - from > MAX_PATH_BYTES) throw new TreeError('NAME_TOO_LONG', `${printable(bytes, from, to)}: path longer than 4095 bytes`);
    this.count = 0;
    this.ups = 0;
    this.isAbsolute = bytes[from] === SLASH && from < to;
    let start = from;
    for (let at = from; at <= to; at++) {
      const byte = at === to ? SLASH : bytes[at];
      if (byte === 0) throw new TreeError('INVALID_NAME', `${printable(bytes, from, to)}: NUL in a name`);
      if (byte !== SLASH) continue;
      this.#push(bytes, start, at);
      start = at + 1;
    }
  }

  #push(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (length === 0) return;
    if (bytes[start] === DOT) {
      if (length === 1) return;
      if (length === 2 && bytes[start + 1] === DOT) {
        if (this.count > 0) this.count--;
        else this.ups++;
        return;
      }
    }
    if (length > MAX_NAME_BYTES) throw new TreeError('NAME_TOO_LONG', `${printable(bytes, start, end)}: name longer than 255 bytes`);
    this.start[this.count] = start;
    this.end[this.count] = end;
    this.count++;
  }
}
