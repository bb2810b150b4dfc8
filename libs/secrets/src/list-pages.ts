import { z } from 'zod';
import { readBounded, type ApiClient } from './api-client.ts';
import { hasCode } from '@soci/errors';
import { SecretsError } from './errors.ts';
import { pathOf, type Scope } from './scope.ts';

export interface ListPage {
  readonly items: readonly unknown[];
  /** Version of the whole list, which a watch starts from. */
  readonly version: string;
}

const DEFAULT_LIMIT = 500;
/** A page above this is asked for again with half as many objects. One object alone is below 2 MiB. */
const MAX_PAGE_BYTES = 8 << 20;
const ANSWER_TIMEOUT_MS = 15_000;
const IDLE_TIMEOUT_MS = 10_000;
const PAGE_TIMEOUT_MS = 60_000;

const listDocument = z.object({
  metadata: z.object({ resourceVersion: z.string().min(1), continue: z.string().optional() }),
  items: z.array(z.unknown()).nullish(),
});

/**
 * Lists page by page.
 *
 * @throws {SecretsError} as {@link ApiClient.get} does, and `ANSWER_TOO_LARGE`, `ANSWER_INVALID`; `GONE` when it took so long that the rest is no longer there
 */
export async function* listPages(api: ApiClient, scope: Scope, signal: AbortSignal): AsyncGenerator<ListPage> {
  let limit = DEFAULT_LIMIT;
  let next = '';
  do {
    const path = pathOf(scope, { limit: String(limit), ...(next === '' ? {} : { continue: next }) });
    let page: z.output<typeof listDocument>;
    try {
      page = await readPage(api, path, signal);
    } catch (error) {
      if (!hasCode(error, 'ANSWER_TOO_LARGE') || limit === 1) throw error;
      limit = Math.floor(limit / 2);
      continue;
    }
    const { resourceVersion: version } = page.metadata;
    next = page.metadata.continue ?? '';
    yield { items: page.items ?? [], version };
    if (next === '') return;
  } while (!signal.aborted);
  signal.throwIfAborted();
}

async function readPage(api: ApiClient, path: string, signal: AbortSignal): Promise<z.output<typeof listDocument>> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(PAGE_TIMEOUT_MS)]);
  let text: string;
  try {
    const body = await api.get({ path, answerTimeoutMs: ANSWER_TIMEOUT_MS, idleTimeoutMs: IDLE_TIMEOUT_MS }, deadline);
    text = await readBounded(body, MAX_PAGE_BYTES);
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof SecretsError) throw cause;
    throw new SecretsError('UNREACHABLE', 'a list was cut short', { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new SecretsError('ANSWER_INVALID', 'a list is not JSON'); // the parser's message would quote it
  }
  const { data } = listDocument.safeParse(value);
  if (data === undefined) throw new SecretsError('ANSWER_INVALID', 'not a list');
  return data;
}
