import type { FlatbufferReader } from './flatbuffer-reader.ts';
import { ZtocError } from './ztoc-error.ts';

/** How the format spells an entry's type, by the number in `ENTRY_TYPE`. */
export const ENTRY_TYPE_NAMES: readonly string[] = ['reg', 'dir', 'symlink', 'hardlink', 'char', 'block', 'fifo'];

/** `ENTRY_TYPE_NAMES` as bytes. */
export const ENTRY_TYPE_TEXTS: readonly Uint8Array[] = ENTRY_TYPE_NAMES.map((name) => new TextEncoder().encode(name));

/** Type flags of tar headers, in the order of `ENTRY_TYPE`. */
const TYPE_FLAGS = '0521346';
const TYPE_BY_FLAG = new Map<number, number>(Array.from(TYPE_FLAGS, (flag, type) => [flag.charCodeAt(0), type]));

/** The `ENTRY_TYPE` for a tar header's type flag, or undefined when the format has none. */
export function entryTypeOfFlag(typeFlag: number): number | undefined {
  return TYPE_BY_FLAG.get(typeFlag);
}

/** The `ENTRY_TYPE` whose name stands at this position; `INVALID` when there is none. */
export function readEntryType(reader: FlatbufferReader, position: number, entry: number): number {
  const start = position + 4;
  const length = position === 0 ? 0 : reader.stringEnd(position) - start;
  for (let type = 0; type < ENTRY_TYPE_TEXTS.length; type++) {
    const text = ENTRY_TYPE_TEXTS[type];
    if (text?.length === length && isText(reader.bytes, start, text)) return type;
  }
  throw new ZtocError('INVALID', `zTOC: entry ${entry} is of no known type`);
}

function isText(bytes: Uint8Array, start: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) {
    if (bytes[start + i] !== text[i]) return false;
  }
  return true;
}
