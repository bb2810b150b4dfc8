import { FlatbufferWriter } from '../flatbuffer-writer.ts';

export interface CraftedFile {
  readonly name?: string;
  readonly type?: string;
  readonly offset?: number | bigint;
  readonly size?: number | bigint;
  readonly link?: string;
  readonly mode?: number;
  readonly mtime?: string;
  /** The same list in two files is one vector that both have. */
  readonly records?: CraftedRecords;
}

type CraftedRecords = readonly (readonly [string, string])[];

/** What a zTOC made for a test says: nothing has to fit together. */
export interface Crafted {
  readonly buildTool?: string;
  readonly compressedSize?: number | bigint;
  readonly uncompressedSize?: number | bigint;
  readonly files?: readonly CraftedFile[];
  readonly checkpoints?: Uint8Array;
  readonly digests?: readonly string[];
  readonly maxSpan?: number;
  readonly algorithm?: number;
  /** Let all entries be the first one's table. */
  readonly shareFiles?: boolean;
}

const SPAN_DIGEST = `sha256:${'ab'.repeat(32)}`;
const CAPACITY_BYTES = 4 << 20;

export function craftZtoc(crafted: Crafted = {}): Uint8Array {
  const {
    buildTool = 'test',
    compressedSize = 1000,
    uncompressedSize = 4096,
    files = [],
    checkpoints = craftCheckpoints([[10, 0, 0]]),
    shareFiles,
  } = crafted;
  const { digests = [SPAN_DIGEST], maxSpan = digests.length - 1, algorithm = 1 } = crafted;
  const writer = new FlatbufferWriter(CAPACITY_BYTES);
  const string = (text: string) => writer.string(Buffer.from(text, 'latin1'));
  const version = string('0.9');
  const tool = string(buildTool);
  const vectors = new Map<CraftedRecords, number>();
  const tables = files.map(() => 0);
  for (let i = files.length - 1; i >= 0; i--)
    tables[i] = shareFiles === true && i < files.length - 1 ? (tables.at(-1) ?? 0) : craftFile(writer, files[i] ?? {}, string, vectors);
  const metadata = writer.offsetVector(tables);
  writer.startTable(1);
  writer.offsetField(0, metadata);
  const toc = writer.endTable();
  const blob = writer.byteVector([checkpoints]);
  const digestVector = writer.offsetVector(digests.map(string));
  writer.startTable(4);
  writer.int32Field(1, maxSpan);
  writer.offsetField(2, digestVector);
  writer.offsetField(3, blob);
  writer.int8Field(0, algorithm, 1);
  const info = writer.endTable();
  writer.startTable(6);
  writer.offsetField(0, version);
  writer.offsetField(1, tool);
  writer.offsetField(4, toc);
  writer.int64Field(2, compressedSize);
  writer.int64Field(3, uncompressedSize);
  writer.offsetField(5, info);
  return writer.finish(writer.endTable());
}

function craftFile(
  writer: FlatbufferWriter,
  file: CraftedFile,
  string: (text: string) => number,
  vectors: Map<CraftedRecords, number>,
): number {
  const { name = 'f', type = 'reg', offset = 512, size = 0, link = '', mode = 0, mtime = '0001-01-01T00:00:00Z', records = [] } = file;
  const [nameAt, typeAt, linkAt, userAt, groupAt, mtimeAt] = [name, type, link, '', '', mtime].map(string);
  const vector =
    vectors.get(records) ??
    writer.offsetVector(
      records.map(([key, value]) => {
        const keyAt = string(key);
        const valueAt = string(value);
        writer.startTable(2);
        writer.offsetField(0, keyAt);
        writer.offsetField(1, valueAt);
        return writer.endTable();
      }),
    );
  vectors.set(records, vector);
  writer.startTable(14);
  writer.offsetField(0, nameAt ?? 0);
  writer.offsetField(1, typeAt ?? 0);
  writer.int64Field(2, offset);
  writer.int64Field(3, size);
  writer.offsetField(4, linkAt ?? 0);
  writer.int64Field(5, mode);
  writer.offsetField(8, userAt ?? 0);
  writer.offsetField(9, groupAt ?? 0);
  writer.offsetField(10, mtimeAt ?? 0);
  writer.offsetField(13, vector);
  return writer.endTable();
}

/** A zinfo blob of these places (offsets in and out, bits); each window is filled with the number of its span. Version 1 leaves the first out. */
export function craftCheckpoints(
  places: readonly (readonly [number, number, number])[],
  { version = 2, count = places.length } = {},
): Uint8Array {
  const header = Buffer.alloc(12);
  header.writeInt32LE(count, 0);
  header.writeBigInt64LE(4096n, 4);
  const stored = places.map(([input, output, bits], i) => {
    const record = Buffer.alloc(32_785, i);
    record.writeBigInt64LE(BigInt(input), 0);
    record.writeBigInt64LE(BigInt(output), 8);
    record[16] = bits;
    return record;
  });
  return Buffer.concat([header, ...stored.slice(version === 1 ? 1 : 0)]);
}
