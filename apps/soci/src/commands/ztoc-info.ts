import { goJson, decodeGoUtf8 } from '@soci/image';
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
  const ztoc = Ztoc.parse(await (await session.blobs()).read(digest, MAX_ZTOC_BYTES, session.signal));
  const files = describeFiles(ztoc, ztoc.columns());
  session.print(
    indentJson(
      goJson({
        version: ztoc.version,
        build_tool: ztoc.buildTool,
        size: artifact.sizeBytes,
        span_size: ztoc.spanSize,
        num_spans: ztoc.spanCount,
        num_files: files.length,
        num_multi_span_files: files.filter(({ start_span, end_span }) => start_span !== end_span).length,
        files: files.length === 0 ? null : files,
      }),
    ),
  );
}

/** A file as the Go tool prints it: these are the names of its fields. */
interface FileInfo {
  readonly filename: string;
  readonly offset: number;
  readonly size: number;
  readonly type: string;
  readonly start_span: number;
  readonly end_span: number;
  readonly [key: string]: string | number;
}

function describeFiles(ztoc: Ztoc, columns: TocColumns): readonly FileInfo[] {
  return Array.from({ length: columns.count }, (_, i) => {
    const offset = columns.offsetBytes[i] ?? 0;
    const size = columns.sizeBytes[i] ?? 0;
    return {
      filename: decodeGoUtf8(columns.bytes.subarray(columns.nameStart[i], columns.nameEnd[i])),
      offset,
      size,
      type: ENTRY_TYPE_NAMES[columns.type[i] ?? 0] ?? '',
      start_span: spanOf(ztoc, offset),
      end_span: spanOf(ztoc, offset + size),
    };
  });
}

/** As the Go tool counts: the end is inclusive, and in a layer that is not compressed it may lie one span past the last. */
function spanOf(ztoc: Ztoc, offset: number): number {
  return ztoc.algorithm === 'gzip' ? ztoc.spanAt(offset) : Number(BigInt(offset) / ztoc.spanSize);
}
