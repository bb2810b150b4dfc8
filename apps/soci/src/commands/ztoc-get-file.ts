import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { MAX_ZTOC_BYTES } from './ztoc-info.ts';
import type { BlobReader } from '@soci/content';
import { describeError } from '@soci/errors';
import { inflateSpan, SPAN_HEADROOM_BYTES } from '@soci/zlib';
import { Ztoc, type TocColumns } from '@soci/ztoc';
import { artifactOf } from '../artifact-of.ts';
import { CliError } from '../errors.ts';
import type { Session } from '../session.ts';

const MAX_LINKS = 40;

/** `soci ztoc get-file`: decodes only those spans of a layer that hold the file. */
export async function ztocGetFile(args: readonly string[], { output = '' }: { readonly output?: string }, session: Session): Promise<void> {
  const [digest = '', file = ''] = args;
  if (args.length !== 2) throw new CliError('ARGUMENT_MISSING', 'please provide both a ztoc digest and a filename to extract');
  const { originalDigest: layerDigest } = await artifactOf(digest, session);
  const ztoc = Ztoc.parse(await (await session.blobs()).read(digest, MAX_ZTOC_BYTES, session.signal), { allowEmptySpans: true });
  const columns = ztoc.columns();
  const entry = findEntry(columns, file);
  const { content } = await session.containerd();
  await using layer = await content.open(layerDigest, session.signal);
  const bytes = extract(ztoc, columns, entry, layer, session.signal);
  if (output !== '') {
    await writeFile(output, bytes);
    return;
  }
  for await (const chunk of bytes) session.stdout.write(chunk);
  session.stdout.write('\n');
}

/** The first entry of that name, or what it links to: by the link's text as a name. */
function findEntry(columns: TocColumns, file: string): number {
  const names = Buffer.from(columns.bytes.buffer, columns.bytes.byteOffset, columns.bytes.byteLength);
  let wanted: Uint8Array = Buffer.from(file);
  for (let links = 0; links < MAX_LINKS; links++) {
    const entry = columns.nameStart.findIndex((start, i) => names.subarray(start, columns.nameEnd[i]).equals(wanted));
    if (entry < 0) break;
    const target = names.subarray(columns.linkStart[entry], columns.linkEnd[entry]);
    if (target.length === 0) return entry;
    wanted = target;
  }
  throw new CliError('NOT_FOUND', `file ${Buffer.from(wanted).toString('utf8')} does not exist in metadata`);
}

async function* extract(
  ztoc: Ztoc,
  columns: TocColumns,
  entry: number,
  layer: BlobReader,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const start = columns.offsetBytes[entry] ?? 0;
  const end = start + (columns.sizeBytes[entry] ?? 0);
  if (end === start) return;
  for (let span = ztoc.spanAt(start); span < ztoc.spanCount; span++) {
    const spanStart = ztoc.spanStartBytes[span] ?? 0;
    if (spanStart >= end) return;
    const bytes = await decodeSpan(ztoc, span, layer, signal);
    yield bytes.subarray(Math.max(start - spanStart, 0), Math.min(end - spanStart, bytes.length));
  }
}

async function decodeSpan(ztoc: Ztoc, span: number, layer: BlobReader, signal: AbortSignal): Promise<Uint8Array> {
  const { offsetBytes, endBytes } = ztoc.compressedRange(span);
  const input = new Uint8Array(SPAN_HEADROOM_BYTES + endBytes - offsetBytes);
  let filled = SPAN_HEADROOM_BYTES;
  for await (const chunk of layer.stream(offsetBytes, signal)) {
    const taken = chunk.subarray(0, input.length - filled);
    input.set(taken, filled);
    filled += taken.length;
    if (filled === input.length) break;
  }
  const found = `sha256:${createHash('sha256').update(input.subarray(SPAN_HEADROOM_BYTES, filled)).digest('hex')}`;
  if (found !== ztoc.digest(span)) throw new CliError('WRONG_KIND', `span ${span} of the layer is not what the ztoc was made from`);
  const sizeBytes = (ztoc.spanStartBytes[span + 1] ?? 0) - (ztoc.spanStartBytes[span] ?? 0);
  return await inflateSpan(input, {
    bits: ztoc.bits(span),
    window: ztoc.algorithm === 'gzip' ? ztoc.window(span) : new Uint8Array(),
    sizeBytes,
    kind: ztoc.algorithm,
  });
}

async function writeFile(path: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    await using file = await open(path, 'w', 0o644);
    for await (const chunk of chunks) await file.writeFile(chunk);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError('OUTPUT_FAILED', `write ${path}: ${describeError(cause)}`, { cause });
  }
}
