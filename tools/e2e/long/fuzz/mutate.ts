import type { Random } from '../random.ts';

export interface MutateOptions {
  /** What other inputs there are, to splice from. */
  readonly others: readonly Uint8Array[];
  /** Where changes matter most, as ranges of offsets; everywhere by default. */
  readonly hot?: readonly (readonly [start: number, end: number])[];
  /** Words of the format, for inputs that are text. */
  readonly tokens?: readonly string[];
}

const MAX_CHANGES = 6;
const MAX_PIECE_BYTES = 2048;
const HOT_SHARE = 0.85;
const NUMBERS = [0, 1, 2, 7, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/** A copy of an input that was damaged in one to six places: bits, bytes, numbers, pieces taken out, put in twice or taken from others, ends cut off. */
export function mutate(input: Uint8Array, random: Random, options: MutateOptions): Buffer {
  let bytes: Buffer = Buffer.from(input);
  for (let changes = 1 + random.below(MAX_CHANGES); changes > 0; changes--) bytes = mutateOnce(bytes, random, options);
  return bytes;
}

function mutateOnce(bytes: Buffer, random: Random, options: MutateOptions): Buffer {
  const at = position(bytes.length, random, options.hot);
  const length = Math.min(1 + random.below(MAX_PIECE_BYTES), bytes.length - at);
  const kinds = ['bit', 'byte', 'number', 'number', 'nudge', 'nudge', 'fill', 'cut', 'remove', 'repeat', 'splice', 'move'] as const;
  const kind = options.tokens !== undefined && random.chance(0.4) ? 'token' : random.pick(kinds);
  switch (kind) {
    case 'bit':
      if (bytes.length > 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
      return bytes;
    case 'byte':
      if (bytes.length > 0) bytes[at] = random.below(256);
      return bytes;
    case 'number':
      return withNumber(bytes, at, random, () => random.pick([...NUMBERS, bytes.length, bytes.length - at, random.word()]));
    case 'nudge':
      return withNumber(bytes, at, random, (before) => before + random.pick([-4, -1, 1, 4, 16]));
    case 'fill':
      return bytes.fill(random.below(256), at, at + Math.min(length, 64));
    case 'cut':
      return bytes.subarray(0, at);
    case 'remove':
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 'repeat':
      return inserted(bytes, at, bytes.subarray(at, at + length));
    case 'splice': {
      const other = random.pick(options.others);
      const from = random.below(other.length);
      return random.chance(0.3)
        ? Buffer.concat([bytes.subarray(0, at), other.subarray(from)])
        : inserted(bytes, at, other.subarray(from, from + length));
    }
    case 'move':
      bytes.copy(bytes, position(bytes.length, random, options.hot), at, at + Math.min(length, 64));
      return bytes;
    case 'token':
      return inserted(bytes, at, Buffer.from(random.pick(options.tokens ?? [''])));
  }
}

function position(length: number, random: Random, hot: MutateOptions['hot']): number {
  if (hot === undefined || hot.length === 0 || !random.chance(HOT_SHARE)) return random.below(length);
  const total = hot.reduce((sum, [start, end]) => sum + end - start, 0);
  let offset = random.below(total);
  for (const [start, end] of hot) {
    if (offset < end - start) return Math.min(start + offset, Math.max(0, length - 1));
    offset -= end - start;
  }
  return random.below(length);
}

/** Writes over a number of 2, 4 or 8 bytes, little endian, mostly on a border of 4. */
function withNumber(bytes: Buffer, at: number, random: Random, change: (before: number) => number): Buffer {
  const width = random.pick([2, 4, 4, 8]);
  const start = random.chance(0.8) ? at - (at % 4) : at;
  if (start + width > bytes.length) return bytes;
  if (width === 2) bytes.writeUInt16LE(change(bytes.readUInt16LE(start)) & 0xffff, start);
  else bytes.writeUInt32LE(change(bytes.readUInt32LE(start)) >>> 0, start);
  if (width === 8) bytes.writeUInt32LE(random.pick([0, 0, 1, 0x1f_ffff, 0x7fff_ffff, 0xffff_ffff]), start + 4);
  return bytes;
}

function inserted(bytes: Buffer, at: number, piece: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
}
