import { writeImage } from '@soci/erofs';
import { buildTree } from '@soci/tree';
import { ENTRY_TYPE, type TocColumns } from '@soci/ztoc';

/**
 * Files of the layer that the kernel is tried with. Each lies in a span of its own, so that reading ahead from one does not fetch the next one early:
 * the first is on disk, the others have to be asked for; the last one ends off the block.
 */
export const PROBE_FILES = ['local', 'failing', 'killed', 'last'] as const;
export type ProbeFile = (typeof PROBE_FILES)[number];

export interface ProbeLayer {
  /** The EROFS image. */
  readonly names: Uint8Array;
  /** The pretended tar. */
  readonly bytes: Buffer;
  /** Where span `i` begins, which holds file `i`; and the end. */
  readonly spanStartBytes: readonly number[];
  contents(file: ProbeFile): Uint8Array;
}

const SPAN_BYTES = 2 << 20; // more than the kernel reads ahead
const FILE_BYTES = 64 << 10;
const LAST_FILE_BYTES = 700;
const FILE_AT_BYTES = 512; // a tar header comes first

export function makeProbeLayer(): ProbeLayer {
  const starts = PROBE_FILES.map((_, i) => i * SPAN_BYTES);
  const sizes = PROBE_FILES.map((_, i) => (i === PROBE_FILES.length - 1 ? LAST_FILE_BYTES : FILE_BYTES));
  const offsets = starts.map((start) => start + FILE_AT_BYTES);
  const endBytes = (offsets.at(-1) ?? 0) + LAST_FILE_BYTES;
  const bytes = Buffer.alloc(endBytes);
  for (const [i, offset] of offsets.entries()) {
    for (let at = 0; at < (sizes[i] ?? 0); at++) bytes[offset + at] = 1 + ((at * 31 + (at >>> 9) + i * 17) % 255); // never zero: zeros would be a lost page
  }
  return {
    names: writeImage(buildTree(makeColumns(offsets, sizes)), { deviceSizeBytes: endBytes }),
    bytes,
    spanStartBytes: [...starts, endBytes],
    contents: (file) => {
      const i = PROBE_FILES.indexOf(file);
      return bytes.subarray(offsets[i], (offsets[i] ?? 0) + (sizes[i] ?? 0));
    },
  };
}

function makeColumns(offsets: readonly number[], sizes: readonly number[]): TocColumns {
  const count = PROBE_FILES.length;
  const zeros = new Uint32Array(count);
  const ends = PROBE_FILES.map((_, i) => PROBE_FILES.slice(0, i + 1).join('').length);
  return {
    count,
    bytes: Buffer.from(PROBE_FILES.join('')),
    nameStart: Uint32Array.from([0, ...ends.slice(0, -1)]),
    nameEnd: Uint32Array.from(ends),
    linkStart: zeros,
    linkEnd: zeros,
    type: new Uint8Array(count).fill(ENTRY_TYPE.regular),
    offsetBytes: Float64Array.from(offsets),
    sizeBytes: Float64Array.from(sizes),
    mode: new Uint32Array(count).fill(0o644),
    uid: zeros,
    gid: zeros,
    devMajor: zeros,
    devMinor: zeros,
    mtimeSeconds: new Float64Array(count),
    mtimeNanos: zeros,
    headerOffsetBytes: Float64Array.from(offsets, (offset) => offset - FILE_AT_BYTES),
    xattrCount: zeros,
    xattrs: () => [],
  };
}
