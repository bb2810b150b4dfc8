import { z } from 'zod';
import { statusError, type ApiClient } from './api-client.ts';
import { SecretsError } from './errors.ts';
import { jsonLines } from './json-lines.ts';
import { pathOf, type Scope } from './scope.ts';

export type WatchEvent =
  | { readonly kind: 'changed' | 'deleted'; readonly object: unknown }
  | { readonly kind: 'bookmark'; readonly version: string };

export interface WatchLimits {
  /** After which the server is to end the watch, in whole seconds. */
  readonly serverTimeoutSec: number;
  /** What the server may take longer than it was asked to. */
  readonly slackMs: number;
  /** Longest silence. */
  readonly idleTimeoutMs: number;
}

/** A secret has at most 1 MiB of data, a third more as base64, and perhaps a copy of it in an annotation. */
const MAX_LINE_BYTES = 4 << 20;
const ANSWER_TIMEOUT_MS = 15_000;

const eventDocument = z.object({ type: z.string(), object: z.unknown() });
const bookmarkObject = z.object({ metadata: z.object({ resourceVersion: z.string().min(1) }) });

/**
 * Follows changes after a version. Ends when the server ends the watch in good order.
 *
 * @param onOpen called when the server has agreed
 * @throws {SecretsError} as {@link ApiClient.get} does, and `GONE`, `ANSWER_TOO_LARGE`, `ANSWER_INVALID`; `UNREACHABLE` when it was cut or fell silent
 */
export async function* watchEvents(
  api: ApiClient,
  scope: Scope,
  { version, serverTimeoutSec, idleTimeoutMs, slackMs, onOpen }: WatchLimits & { readonly version: string; readonly onOpen: () => void },
  signal: AbortSignal,
): AsyncGenerator<WatchEvent> {
  const path = pathOf(scope, {
    watch: 'true',
    allowWatchBookmarks: 'true',
    resourceVersion: version,
    timeoutSeconds: String(serverTimeoutSec),
  });
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(serverTimeoutSec * 1_000 + slackMs)]);
  try {
    const body = await api.get({ path, answerTimeoutMs: ANSWER_TIMEOUT_MS, idleTimeoutMs }, deadline);
    onOpen();
    for await (const line of jsonLines(body as AsyncIterable<Buffer>, MAX_LINE_BYTES)) yield toEvent(line);
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof SecretsError) throw cause;
    throw new SecretsError('UNREACHABLE', 'a watch was cut', { cause });
  }
}

function toEvent(line: unknown): WatchEvent {
  const { data: event } = eventDocument.safeParse(line);
  switch (event?.type) {
    case 'ADDED':
    case 'MODIFIED':
      return { kind: 'changed', object: event.object };
    case 'DELETED':
      return { kind: 'deleted', object: event.object };
    case 'BOOKMARK': {
      const { data } = bookmarkObject.safeParse(event.object);
      if (data === undefined) break;
      return { kind: 'bookmark', version: data.metadata.resourceVersion };
    }
    case 'ERROR':
      throw statusError('watch', 500, event.object);
  }
  throw new SecretsError('ANSWER_INVALID', 'a watch sent an event of no known kind');
}
