import { countSpans, MAX_PREFETCH_BYTES, parsePrefetch } from '@soci/index';
import { artifactOf } from '../artifact-of.ts';
import { CliError } from '../errors.ts';
import { indentJson } from '../indent-json.ts';
import type { Session } from '../session.ts';

const GO_KIND = { index: 'soci_index', ztoc: 'soci_layer', prefetch: 'soci_prefetch' } as const;
const VERSION = '1.0';

/** `soci prefetch info`: the spans that an artifact asks for. */
export async function prefetchInfo(
  [digest = '']: readonly string[],
  { json }: { readonly json?: boolean },
  session: Session,
): Promise<void> {
  const artifact = await artifactOf(digest, session);
  if (artifact.kind !== 'prefetch') {
    throw new CliError('WRONG_KIND', `the provided digest is not a prefetch artifact (type: ${GO_KIND[artifact.kind]})`);
  }
  const bytes = await (await session.blobs()).read(digest, MAX_PREFETCH_BYTES, session.signal);
  const spans = parsePrefetch(bytes);
  const created = artifact.createdAt.toISOString().slice(0, 19).replace('T', ' ');
  const lines = [
    `Digest:        ${digest}`,
    `Version:       ${VERSION}`,
    `Span Ranges:   ${spans.length}`,
    `Layer Digest:  ${artifact.originalDigest}`,
    `Size:          ${artifact.sizeBytes} bytes`,
    `Created:       ${created}`,
    '',
    'Prefetch Spans:',
    ...spans.flatMap(({ startSpan, endSpan, priority }, i) => [
      `  [${i}] StartSpan: ${startSpan}, EndSpan: ${endSpan} (covers ${endSpan - startSpan + 1} spans)`,
      ...(priority === 0 ? [] : [`      Priority: ${priority}`]),
    ]),
    '',
    `Total spans to prefetch: ${countSpans(spans)}`,
    ...(json === true ? ['', 'Raw JSON:', indentJson(Buffer.from(bytes).toString('utf8'))] : []),
  ];
  session.print(lines.join('\n'));
}
