import type { PaxRecords } from '../pax-records.ts';
import type { TarEntry } from '../tar-entry.ts';
import { TarParser } from '../tar-parser.ts';
import type { TarText } from '../text.ts';

export interface EntryCopy {
  readonly type: string;
  readonly name: string;
  readonly link: string;
  readonly user: string;
  readonly group: string;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly dev: readonly [number, number];
  readonly mtime: readonly [number, number];
  readonly offsets: readonly [number, number];
  readonly records: Readonly<Record<string, string>>;
}

/** Reads a whole archive in pieces of so many bytes; texts come as latin1. */
export function readTar(archive: Uint8Array, pieceBytes = archive.length): { readonly entries: EntryCopy[]; readonly endBytes: number } {
  const entries: EntryCopy[] = [];
  const parser = new TarParser((entry) => void entries.push(copy(entry)));
  for (let at = 0; at < archive.length; at += pieceBytes) {
    // A piece of its own that is overwritten afterwards: nothing may point into it any more.
    const piece = Uint8Array.from(archive.subarray(at, at + pieceBytes));
    parser.push(piece);
    piece.fill(0xaa);
  }
  parser.finish();
  return { entries, endBytes: parser.offsetBytes };
}

function copy(entry: TarEntry): EntryCopy {
  return {
    type: String.fromCharCode(entry.typeFlag),
    name: text(entry.name),
    link: text(entry.linkName),
    user: text(entry.userName),
    group: text(entry.groupName),
    size: entry.sizeBytes,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    dev: [entry.devMajor, entry.devMinor],
    mtime: [entry.mtimeSeconds, entry.mtimeNanos],
    offsets: [entry.headerOffsetBytes, entry.offsetBytes],
    records: toRecord(entry.records),
  };
}

function toRecord(records: PaxRecords): Record<string, string> {
  const pairs = Array.from({ length: records.count }, (_, i): [string, string] => [
    text({ bytes: records.bytes, start: records.keyStart(i), end: records.keyEnd(i) }),
    text({ bytes: records.bytes, start: records.valueStart(i), end: records.valueEnd(i) }),
  ]);
  return Object.fromEntries(pairs);
}

function text({ bytes, start, end }: TarText): string {
  return Buffer.from(bytes.subarray(start, end)).toString('latin1');
}
