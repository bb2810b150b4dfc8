import { hasCode } from '@soci/errors';
import type { ImageReference } from '@soci/image';
import { LRUCache } from 'lru-cache';
import { blobCall } from './blobs.ts';
import { contentRangeOf } from './content-range.ts';
import { RegistryError } from './errors.ts';
import { failureOf } from './manifests.ts';
import type { Connection } from './connection.ts';
import type { RegistryCall, RegistryRequests } from './requests.ts';
import type { RetryingSender } from './retry.ts';
import type { HttpResponse, ResponseBody } from './transport.ts';

/** A piece of a blob. */
export interface BlobRange {
  readonly offsetBytes: number;
  /** At least 1. */
  readonly lengthBytes: number;
}

/** Where a storage has a blob, and how connections to it are made. */
interface Location {
  readonly url: URL;
  readonly connection: Connection | undefined;
}

/** An answer that is being read. */
interface Opened {
  readonly body: ResponseBody;
  /** It broke off: another place is better asked for the rest, if there is one. */
  readonly brokeOff: (error: RegistryError) => void;
}

const MAX_LOCATIONS = 4096;
/** A signed address lives for minutes to an hour; one that ends sooner is noticed by its refusal. */
const LOCATION_TTL_MS = 15 * 60 * 1000;
/**
 * Reads pieces of blobs. Where a registry redirects to a storage, later pieces go there directly, without a credential, until the storage refuses the address
 * or a quarter of an hour has passed. Such an address is a secret itself: it is never shown.
 */
export class BlobRangeReader {
  readonly #sender: RetryingSender;
  readonly #userAgent: string;
  readonly #locations: LRUCache<string, Location>;

  constructor({ sender, userAgent, nowMs }: { readonly sender: RetryingSender; readonly userAgent: string; readonly nowMs: () => number }) {
    this.#sender = sender;
    this.#userAgent = userAgent;
    this.#locations = new LRUCache({ max: MAX_LOCATIONS, ttl: LOCATION_TTL_MS, perf: { now: nowMs } });
  }

  /**
   * Yields exactly the bytes asked for, as they arrive and as they came: pieces are neither copied nor joined, and the caller owns them.
   *
   * @throws {RegistryError} `RANGE_REFUSED` when the answer is anything but these bytes, and what requests throw
   */
  async *read(
    requests: RegistryRequests,
    reference: ImageReference,
    digest: string,
    { offsetBytes, lengthBytes }: BlobRange,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (!Number.isSafeInteger(offsetBytes) || !Number.isSafeInteger(lengthBytes) || offsetBytes < 0 || lengthBytes <= 0) {
      throw new RangeError(`no such range: ${lengthBytes} bytes from ${offsetBytes}`);
    }
    const last = offsetBytes + lengthBytes - 1;
    let next = offsetBytes;
    for (let attempt = 0; ; attempt++) {
      const start = next;
      const { body, brokeOff } = await this.#open(requests, reference, digest, start, last, signal);
      try {
        while (await body.more()) {
          for (let chunk = body.take(); chunk !== undefined; chunk = body.take()) {
            next += chunk.length;
            if (next > last + 1) throw rangeFailure(reference, digest, `more bytes than ${start}-${last}`);
            yield chunk;
          }
        }
        if (next > last) return;
        throw new RegistryError('UNREACHABLE', `${reference.host}: the body is too short`);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RegistryError) || !['UNREACHABLE', 'TIMEOUT'].includes(error.code)) throw error;
        brokeOff(error);
        if (next - start >= this.#sender.progressBytes) attempt = 0;
        if (attempt >= this.#sender.maxRetries) {
          throw failureOf(blobCall('GET', reference, digest))(
            error.code,
            `bytes ${offsetBytes}-${last} broke off at ${next}: ${error.message}`,
            error,
          );
        }
        await this.#sender.pause(attempt, { host: reference.host, digest, error }, signal);
      } finally {
        body.discard();
      }
    }
  }

  async #open(
    requests: RegistryRequests,
    reference: ImageReference,
    digest: string,
    first: number,
    last: number,
    signal: AbortSignal,
  ): Promise<Opened> {
    const key = `${reference.host}/${reference.repository}@${digest} ${JSON.stringify(requests.namespaces)}`;
    const headers = { 'accept-encoding': 'identity', range: `bytes=${first}-${last}` };
    const stored = this.#locations.get(key);
    const direct = stored === undefined ? undefined : await this.#openDirect(key, stored, headers, signal);
    if (direct !== undefined) {
      if (isAnswerTo(first, last, direct)) return { body: direct.body, brokeOff: () => this.#locations.delete(key) };
      this.#locations.delete(key); // not to be stuck with it
      throw refused(reference, digest, first, last, direct);
    }
    const isUsable = (response: HttpResponse): boolean => isAnswerTo(first, last, response);
    const call: RegistryCall = { ...blobCall('GET', reference, digest), headers, expect: [200, 206], isUsable };
    const reply = await requests.perform(call, signal);
    const { response, url, via } = reply;
    const brokeOff = (error: RegistryError): void => {
      this.#locations.delete(key);
      requests.brokeOff(reply, call, error);
    };
    if (!isUsable(response)) throw refused(reference, digest, first, last, response);
    if (!via.isOrigin(url)) this.#locations.set(key, { url, connection: via.connectionFor(url) });
    return { body: response.body, brokeOff };
  }

  /** One attempt at an address that was good before. @returns undefined when it is not, for whatever reason: the registry may know a better one */
  async #openDirect(
    key: string,
    location: Location,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<HttpResponse | undefined> {
    const { url, connection } = location;
    const how = connection === undefined ? {} : { connection };
    try {
      const response = await this.#sender.send(
        { method: 'GET', url, headers: { ...headers, 'user-agent': this.#userAgent }, once: true, ...how },
        signal,
      );
      if (response.status < 300) return response;
      response.body.discard();
    } catch (error) {
      if (!hasCode(error, 'UNREACHABLE', 'TIMEOUT')) throw error;
    }
    if (this.#locations.get(key) === location) this.#locations.delete(key);
    return undefined;
  }
}

function isAnswerTo(first: number, last: number, response: HttpResponse): boolean {
  if (response.status === 200) return first === 0 && Number(response.header('content-length') ?? NaN) === last + 1;
  const range = contentRangeOf(response);
  return response.status === 206 && range?.first === first && range.last === last;
}

function refused(reference: ImageReference, digest: string, first: number, last: number, response: HttpResponse): RegistryError {
  response.body.discard();
  const range = contentRangeOf(response);
  const sent = range === undefined ? `status ${response.status} without a usable Content-Range` : `bytes ${range.first}-${range.last}`;
  return rangeFailure(reference, digest, `bytes ${first}-${last} were asked for, the answer is ${sent}`);
}

function rangeFailure(reference: ImageReference, digest: string, why: string): RegistryError {
  return failureOf(blobCall('GET', reference, digest))('RANGE_REFUSED', why);
}
