import { createHash } from 'node:crypto';
import { parseDigest, type Descriptor, type ImageReference } from '@soci/image';
import { RegistryError } from './errors.ts';
import { failureOf } from './manifests.ts';
import type { RegistryCall, RegistryRequests, Reply } from './requests.ts';
import type { RetryingSender } from './retry.ts';
import { contentRangeOf } from './content-range.ts';
import { repositoryScope } from './scopes.ts';
import type { HttpResponse } from './transport.ts';

/**
 * Streams a blob and checks it: the last piece is held back until the digest is known to be right. A connection that breaks is taken up where it broke.
 *
 * @throws {RegistryError} `NOT_FOUND`, `SIZE_MISMATCH`, `DIGEST_MISMATCH`, and what requests throw
 */
export async function* fetchBlob(
  { requests, sender }: { readonly requests: RegistryRequests; readonly sender: RetryingSender },
  reference: ImageReference,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { algorithm, hex } = parseDigest(digest);
  const call = blobCall('GET', reference, digest);
  const failure = failureOf(call);
  const hash = createHash(algorithm);
  let received = 0;
  let held: Uint8Array | undefined;
  for (let attempt = 0; ; attempt++) {
    const before = received;
    const reply = await openFrom(requests, call, received, size, signal);
    const { body } = reply.response;
    try {
      while (await body.more()) {
        for (let chunk = body.take(); chunk !== undefined; chunk = body.take()) {
          received += chunk.length;
          if (received > size) throw failure('SIZE_MISMATCH', `more than ${size} bytes`);
          hash.update(chunk);
          if (held !== undefined) yield held;
          held = chunk;
        }
      }
      break;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RegistryError) || !['UNREACHABLE', 'TIMEOUT'].includes(error.code)) throw error;
      requests.brokeOff(reply, call, error);
      if (received - before >= sender.progressBytes) attempt = 0;
      if (attempt >= sender.maxRetries) throw failure(error.code, `broke off after ${received} of ${size} bytes: ${error.message}`, error);
      await sender.pause(attempt, { host: reference.host, digest, received, error }, signal);
    } finally {
      body.discard();
    }
  }
  if (received !== size) throw failure('SIZE_MISMATCH', `${received} of ${size} bytes`);
  const actual = hash.digest('hex');
  if (actual !== hex) throw failure('DIGEST_MISMATCH', `its bytes are ${algorithm}:${actual}`);
  if (held !== undefined) yield held;
}

/** Whether a blob is there. A redirect says so, too: nobody is sent to a place that has it not, and a signed address may be good for GET alone. */
export async function hasBlob(
  requests: RegistryRequests,
  reference: ImageReference,
  digest: string,
  signal: AbortSignal,
  different: Pick<Partial<RegistryCall>, 'needs' | 'scopes'> = {},
): Promise<boolean> {
  const call: RegistryCall = { ...blobCall('HEAD', reference, digest), ...different, expect: [200, 404], isRedirectAnswer: true };
  const { response } = await requests.perform(call, signal);
  response.body.discard();
  return response.status !== 404;
}

export function blobCall(method: 'GET' | 'HEAD', reference: ImageReference, digest: string): RegistryCall {
  return {
    method,
    reference,
    needs: ['pull'],
    content: digest,
    path: `${reference.repository}/blobs/${digest}`,
    scopes: [repositoryScope(reference.repository, ['pull'])],
    subject: `blob ${reference.repository}@${digest}`,
    expect: [200],
    headers: { 'accept-encoding': 'identity' },
  };
}

async function openFrom(requests: RegistryRequests, call: RegistryCall, offset: number, size: number, signal: AbortSignal): Promise<Reply> {
  if (offset === 0) return requests.perform(call, signal);
  const isUsable = (response: HttpResponse): boolean => {
    const range = contentRangeOf(response);
    return range?.first === offset && range.last === size - 1;
  };
  const rest: RegistryCall = { ...call, headers: { ...call.headers, range: `bytes=${offset}-` }, expect: [206], isUsable };
  const reply = await requests.perform(rest, signal);
  if (!isUsable(reply.response)) {
    reply.response.body.discard();
    throw failureOf(rest, reply)('RANGE_REFUSED', `the rest from byte ${offset} on was asked for, the registry sent something else`);
  }
  return reply;
}
