import { MAX_MANIFEST_BYTES, MEDIA_TYPE, parseIndex, type Descriptor, type ImageReference } from '@soci/image';
import { hasCode } from '@soci/errors';
import { RegistryError } from './errors.ts';
import { contentType, failureOf, fetchManifest } from './manifests.ts';
import type { RegistryCall, RegistryRequests } from './requests.ts';
import { repositoryScope } from './scopes.ts';
import { readBody, type HttpResponse } from './transport.ts';

const MAX_PAGES = 32;

/**
 * Lists what refers to a manifest, of one artifact type, by the referrers API, or by the tag that stands in for it where a registry has no such API.
 *
 * @throws {RegistryError} `PROTOCOL` for a list that is none, and what requests throw
 * @see https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
 */
export async function listReferrers(
  requests: RegistryRequests,
  reference: ImageReference,
  digest: string,
  artifactType: string,
  signal: AbortSignal,
): Promise<readonly Descriptor[]> {
  const all = (await fromApi(requests, reference, digest, artifactType, signal)) ?? (await fromTag(requests, reference, digest, signal));
  return all.filter((descriptor) => descriptor.artifactType === artifactType);
}

/** The tag of the index that lists referrers where there is no API: `sha256-<hex>`. */
export function referrersTag(digest: string): string {
  return digest.replace(':', '-').slice(0, 128);
}

/** What the stand-in tag lists; empty where there is none. */
export async function fromTag(
  requests: RegistryRequests,
  reference: ImageReference,
  digest: string,
  signal: AbortSignal,
  needs: RegistryCall['needs'] = ['referrers'],
): Promise<readonly Descriptor[]> {
  const tag = referrersTag(digest);
  try {
    return parseList((await fetchManifest(requests, reference, tag, signal, needs)).bytes, reference, tag);
  } catch (error) {
    if (hasCode(error, 'NOT_FOUND')) return [];
    throw error;
  }
}

/** @returns undefined when the registry has no such API */
async function fromApi(
  requests: RegistryRequests,
  reference: ImageReference,
  digest: string,
  artifactType: string,
  signal: AbortSignal,
): Promise<readonly Descriptor[] | undefined> {
  const found: Descriptor[] = [];
  let call: RegistryCall = {
    method: 'GET',
    reference,
    needs: ['referrers'],
    path: `${reference.repository}/referrers/${digest}`,
    query: { artifactType },
    scopes: [repositoryScope(reference.repository, ['pull'])],
    subject: `referrers of ${reference.repository}@${digest}`,
    expect: [200, 400, 404, 405, 501],
    isUsable: isIndex,
    headers: { accept: MEDIA_TYPE.ociIndex },
  };
  for (let page = 0; page < MAX_PAGES; page++) {
    const { response, url, via } = await requests.perform(call, signal);
    if (response.status !== 200 || !isIndex(response)) {
      response.body.discard();
      return page === 0 ? undefined : found;
    }
    const bytes = await readBody(response.body, MAX_MANIFEST_BYTES);
    if (bytes === undefined) throw failureOf(call)('TOO_LARGE', `more than ${MAX_MANIFEST_BYTES} bytes`);
    found.push(...parseList(bytes, reference, digest));
    const next = nextPage(response.header('link'), url);
    if (next === undefined) return found;
    call = { ...call, query: {}, url: next, via };
  }
  throw failureOf(call)('TOO_LARGE', `more than ${MAX_PAGES} pages`);
}

function isIndex(response: HttpResponse): boolean {
  return contentType(response.header('content-type')) === MEDIA_TYPE.ociIndex;
}

function parseList(bytes: Uint8Array, reference: ImageReference, what: string): readonly Descriptor[] {
  try {
    return parseIndex(bytes).manifests;
  } catch (cause) {
    throw new RegistryError('PROTOCOL', `referrers of ${reference.repository} ${what} at ${reference.host}: not an index`, { cause });
  }
}

/** `Link: </v2/...>; rel="next"`, of the same origin. */
function nextPage(link: string | undefined, from: URL): URL | undefined {
  const target = /^\s*<([^>]*)>\s*;.*\brel="?next"?/i.exec(link ?? '')?.[1];
  const url = target === undefined ? null : URL.parse(target, from.href);
  return url === null || url.origin !== from.origin ? undefined : url;
}
