import type { Descriptor, ImageReference } from '@soci/image';
import type { CredentialSource } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { isLoopbackHost } from './addresses.ts';
import { Authenticator } from './authenticator.ts';
import { BlobRangeReader, type BlobRange } from './blob-range.ts';
import { fetchBlob, hasBlob } from './blobs.ts';
import { SYSTEM_CLOCK, type Clock } from './clock.ts';
import { HostRequests } from './host-requests.ts';
import { HostRoutes } from './host-routes.ts';
import { DEFAULT_HTTP_OPTIONS, type HttpOptions } from './http-options.ts';
import { fetchManifest, hasManifest, resolveManifest, type FetchedManifest } from './manifests.ts';
import type { ProxyOptions } from './proxy.ts';
import { mountBlob, pushBlob, type BlobSource } from './push-blob.ts';
import { pushManifest } from './push-manifest.ts';
import { listReferrers } from './referrers.ts';
import type { RegistryHosts } from './registry-host.ts';
import { RegistryRequests } from './requests.ts';
import { RetryingSender } from './retry.ts';
import { TokenExchange } from './token-exchange.ts';
import type { Transport } from './transport.ts';
import { UndiciTransport, type HostStats } from './undici-transport.ts';

export interface RegistryClientOptions {
  readonly credentials: CredentialSource;
  readonly log: Logger;
  readonly http?: Partial<HttpOptions>;
  /** What is different for reads of pieces of blobs, as in the `[blob]` table of config.toml. */
  readonly rangeHttp?: Partial<HttpOptions>;
  /** See `proxyFromEnv`; none by default. */
  readonly proxy?: ProxyOptions;
  readonly userAgent?: string;
  /** Where registries are asked, see `createRegistryHosts`; themselves alone by default. */
  readonly hosts?: RegistryHosts;
  /** Which hosts are spoken to in clear text, see `isPlainHttpByDefault`. */
  readonly plainHttp?: (host: string) => boolean;
  /** Hosts whose certificate is not checked, such as a mirror that is configured so. */
  readonly insecureTls?: (host: string) => boolean;
  /** Authorities to trust besides those of the operating system and of Node, PEM. */
  readonly extraCa?: readonly string[];
  /** Hosts (with port) that may be a token server although their address is an internal one. */
  readonly trustedRealms?: readonly string[];
  /** In place of undici, for tests. It is disposed of with the client. */
  readonly transport?: Transport;
  readonly clock?: Clock;
}

/** What reads alone need of a client. */
export type RegistryReader = Pick<RegistryClient, 'fetchManifest' | 'fetchBlob' | 'readBlobRange' | 'referrers'>;

/** Loopback hosts speak plain HTTP, unless their port is 443, as containerd and the Go snapshotter take it; all others https. */
export function isPlainHttpByDefault(host: string): boolean {
  const url = URL.parse(`http://${host}`);
  return url !== null && isLoopbackHost(url.hostname) && url.port !== '443';
}

/** A client of OCI registries. One serves any number of hosts and references at a time; every wait ends with the signal given. */
export class RegistryClient implements AsyncDisposable {
  readonly #transport: Transport;
  readonly #http: HttpOptions;
  readonly #sender: RetryingSender;
  readonly #authenticator: Authenticator;
  readonly #requests: RegistryRequests;
  readonly #rangeRequests: RegistryRequests;
  readonly #ranges: BlobRangeReader;

  constructor(options: RegistryClientOptions) {
    const { credentials, log, plainHttp = isPlainHttpByDefault, userAgent = 'soci', trustedRealms = [], clock = SYSTEM_CLOCK } = options;
    const http = { ...DEFAULT_HTTP_OPTIONS, ...options.http };
    this.#http = http;
    this.#transport = options.transport ?? new UndiciTransport({ ...options, http });
    this.#sender = new RetryingSender({ transport: this.#transport, http, clock, log });
    const exchange = new TokenExchange({ sender: this.#sender, clock, policy: { trustedRealms }, userAgent });
    this.#authenticator = new Authenticator({ credentials, exchange, clock, log });
    const common = { authenticator: this.#authenticator, clock, userAgent, isPlainHttp: plainHttp };
    const routes = new HostRoutes({ ...(options.hosts === undefined ? {} : { hosts: options.hosts }), isPlainHttp: plainHttp, clock, log });
    this.#requests = new RegistryRequests({ hosts: new HostRequests({ ...common, sender: this.#sender }), routes });
    const rangeSender = new RetryingSender({ transport: this.#transport, http: { ...http, ...options.rangeHttp }, clock, log });
    this.#rangeRequests = new RegistryRequests({ hosts: new HostRequests({ ...common, sender: rangeSender }), routes });
    this.#ranges = new BlobRangeReader({ sender: rangeSender, userAgent, nowMs: clock.nowMs });
  }

  /** The same registries, asked for these Kubernetes namespaces: they go into every look-up made for its requests. Cheap; empty means unknown. */
  forNamespaces(namespaces: readonly string[]): RegistryReader {
    if (namespaces.length === 0) return this;
    const requests = this.#requests.forNamespaces(namespaces);
    const rangeRequests = this.#rangeRequests.forNamespaces(namespaces);
    const [sender, ranges] = [this.#sender, this.#ranges];
    return {
      fetchManifest: (reference, tagOrDigest, signal) => fetchManifest(requests, reference, tagOrDigest, signal),
      fetchBlob: (reference, descriptor, signal) => fetchBlob({ requests, sender }, reference, descriptor, signal),
      readBlobRange: (reference, digest, range, signal) => ranges.read(rangeRequests, reference, digest, range, signal),
      referrers: (reference, digest, artifactType, signal) => listReferrers(requests, reference, digest, artifactType, signal),
    };
  }

  /** What went to which host; empty with a transport of the caller's. */
  get stats(): ReadonlyMap<string, HostStats> {
    return this.#transport instanceof UndiciTransport ? this.#transport.stats : new Map();
  }

  /** What the reference's digest, or else its tag, points at. @throws {RegistryError} */
  async resolve(reference: ImageReference, signal: AbortSignal): Promise<Descriptor> {
    return resolveManifest(this.#requests, reference, signal);
  }

  /** A manifest or index of at most 4 MiB, checked against its digest. @throws {RegistryError} */
  async fetchManifest(reference: ImageReference, tagOrDigest: string, signal: AbortSignal): Promise<FetchedManifest> {
    return fetchManifest(this.#requests, reference, tagOrDigest, signal);
  }

  async hasManifest(reference: ImageReference, tagOrDigest: string, signal: AbortSignal): Promise<boolean> {
    return hasManifest(this.#requests, reference, tagOrDigest, signal);
  }

  /** A whole blob; throws before the last piece is yielded when size or digest is wrong. @throws {RegistryError} */
  fetchBlob(reference: ImageReference, descriptor: Pick<Descriptor, 'digest' | 'size'>, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return fetchBlob({ requests: this.#requests, sender: this.#sender }, reference, descriptor, signal);
  }

  /** Exactly these bytes of a blob, unverified: whoever knows the span's digest has to check it. @throws {RegistryError} `RANGE_REFUSED` for any other answer */
  readBlobRange(reference: ImageReference, digest: string, range: BlobRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#ranges.read(this.#rangeRequests, reference, digest, range, signal);
  }

  async hasBlob(reference: ImageReference, digest: string, signal: AbortSignal): Promise<boolean> {
    return hasBlob(this.#requests, reference, digest, signal);
  }

  /** What refers to a manifest, of one artifact type; empty when nothing does. @throws {RegistryError} */
  async referrers(reference: ImageReference, digest: string, artifactType: string, signal: AbortSignal): Promise<readonly Descriptor[]> {
    return listReferrers(this.#requests, reference, digest, artifactType, signal);
  }

  /** Takes a blob over from another repository of the registry; false when it has to be pushed. @throws {RegistryError} */
  async mountBlob(reference: ImageReference, digest: string, fromRepository: string, signal: AbortSignal): Promise<boolean> {
    return mountBlob(this.#requests, reference, digest, fromRepository, signal);
  }

  /**
   * Pushes a blob unless it is there.
   *
   * @param onProgress told how many bytes have been sent; goes back when the upload begins anew
   * @throws {RegistryError}
   */
  async pushBlob(
    reference: ImageReference,
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    source: BlobSource,
    signal: AbortSignal,
    onProgress?: (sentBytes: number) => void,
  ): Promise<'present' | 'pushed'> {
    const pushing = { requests: this.#requests, sender: this.#sender, http: this.#http };
    return pushBlob(pushing, { reference, descriptor, source, ...(onProgress === undefined ? {} : { onProgress }) }, signal);
  }

  /** Pushes a manifest under a tag, or without one under its digest, and enters it with its subject. @throws {RegistryError} */
  async pushManifest(
    reference: ImageReference,
    bytes: Uint8Array,
    mediaType: string,
    tag: string | undefined,
    signal: AbortSignal,
  ): Promise<Descriptor> {
    return pushManifest(this.#requests, { reference, bytes, mediaType, tag }, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#authenticator[Symbol.dispose]();
    await this.#transport[Symbol.asyncDispose]();
  }
}
