import type { PathParts } from './path-parts.ts';
import { printable } from './printable.ts';
import { TreeError } from './tree-error.ts';

const PREFIX = Buffer.from('.wh.');
const OPAQUE = Buffer.from('.wh..wh..opq');

/** What the last component of a name asks for: an opaque directory, a name of lower layers taken away, or nothing of the kind. */
export function whiteoutKind(bytes: Uint8Array, start: number, end: number): 'opaque' | 'name' | undefined {
  if (!startsWith(bytes, start, end, PREFIX)) return undefined;
  if (end - start === OPAQUE.length && startsWith(bytes, start, end, OPAQUE)) return 'opaque';
  const name = start + PREFIX.length;
  const length = end - name;
  const isDots = length <= 2 && bytes.subarray(name, end).every((byte) => byte === 0x2e);
  if (isDots) throw new TreeError('INVALID_NAME', `${printable(bytes, start, end)}: whiteout of no name`);
  return 'name';
}

/** Whether a name must not be seen: below a directory that is called like a whiteout, or a mark of AUFS (`.wh..wh.x`) other than the opaque one. */
export function isHidden(bytes: Uint8Array, path: PathParts): boolean {
  for (let i = 0; i < path.count - 1; i++) {
    if (startsWith(bytes, path.start[i] ?? 0, path.end[i] ?? 0, PREFIX)) return true;
  }
  const start = path.start[path.count - 1] ?? 0;
  const end = path.end[path.count - 1] ?? 0;
  if (!startsWith(bytes, start, end, PREFIX) || !startsWith(bytes, start + PREFIX.length, end, PREFIX)) return false;
  return whiteoutKind(bytes, start, end) !== 'opaque';
}

function startsWith(bytes: Uint8Array, start: number, end: number, prefix: Uint8Array): boolean {
  if (end - start < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) {
    if (bytes[start + i] !== prefix[i]) return false;
  }
  return true;
}
