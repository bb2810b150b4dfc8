import { isUtf8 } from 'node:buffer';
import { goJson } from '@soci/image';
import { ENTRY_TYPE_NAMES, Ztoc, type TocColumns } from '@soci/ztoc';
import { artifactOf } from '../artifact-of.ts';
import { CliError } from '../errors.ts';
import { indentJson } from '../indent-json.ts';
import type { Session } from '../session.ts';

/** Of a layer with millions of files; bounds what is read into memory. */
export const MAX_ZTOC_BYTES = 2 ** 31 - 1;

/** `soci ztoc info`: what a zTOC says of its layer and of each file, as JSON. */
export async function ztocInfo([digest = '']: readonly string[], _: object, session: Session): Promise<void> {
  const artifact = await artifactOf(digest, session);
  if (artifact.kind === 'index') {
    throw new CliError(
      'WRONG_KIND',
      'the provided digest belongs to a SOCI index. Use `soci index info` to get the detailed information about it',
    );
  }
  const ztoc = Ztoc.parse(await (await session.blobs()).read(digest, MAX_ZTOC_BYTES, session.signal), { allowEmptySpans: true });
  const columns = ztoc.columns();
  const files = Array.from({ length: columns.count }, (_file, i) => describeFile(ztoc, columns, i));
  const head = goJson({
    version: ztoc.version,
    build_tool: ztoc.buildTool,
    size: artifact.sizeBytes,
    span_size: ztoc.spanSize,
    num_spans: ztoc.spanCount,
    num_files: files.length,
    num_multi_span_files: files.filter(({ startSpan, endSpan }) => startSpan !== endSpan).length,
  });
  const list = files.length === 0 ? 'null' : `[${files.map(toJson).join(',')}]`;
  session.print(indentJson(`${head.slice(0, -1)},"files":${list}}`));
}

interface FileInfo {
  readonly name: Uint8Array;
  readonly offset: number;
  readonly size: number;
  readonly type: string;
  readonly startSpan: number;
  readonly endSpan: number;
}

function describeFile(ztoc: Ztoc, columns: TocColumns, i: number): FileInfo {
  const offset = columns.offsetBytes[i] ?? 0;
  const size = columns.sizeBytes[i] ?? 0;
  return {
    name: columns.bytes.subarray(columns.nameStart[i], columns.nameEnd[i]),
    offset,
    size,
    type: ENTRY_TYPE_NAMES[columns.type[i] ?? 0] ?? '',
    startSpan: spanOf(ztoc, offset),
    endSpan: spanOf(ztoc, offset + size),
  };
}

/** As the Go tool counts: the end is inclusive, and in a layer that is not compressed it may lie one span past the last. */
function spanOf(ztoc: Ztoc, offset: number): number {
  return ztoc.algorithm === 'gzip' ? ztoc.spanAt(offset) : Number(BigInt(offset) / ztoc.spanSize);
}

function toJson({ name, offset, size, type, startSpan, endSpan }: FileInfo): string {
  return `{"filename":${nameToJson(name)},${goJson({ offset, size, type, start_span: startSpan, end_span: endSpan }).slice(1)}`;
}

/** Names are bytes. Go's encoder writes one that is not UTF-8 as the escape, and the character itself as it is. */
function nameToJson(bytes: Uint8Array): string {
  const name = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(name)) return goJson(name.toString('utf8'));
  let text = '';
  for (let at = 0; at < name.length; ) {
    const length = [1, 2, 3, 4].find((count) => at + count <= name.length && isUtf8(name.subarray(at, at + count))) ?? 0;
    text += length === 0 ? '\\ufffd' : goJson(name.toString('utf8', at, at + length)).slice(1, -1);
    at += Math.max(length, 1);
  }
  return `"${text}"`;
}
