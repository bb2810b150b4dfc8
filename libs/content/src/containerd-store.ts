import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '@soci/errors';
import type { Descriptor } from '@soci/image';
import { content as api } from '@soci/proto';
import { BlobCheck, splitDigest } from './blob-check.ts';
import { callOptions, fromContainerd, type ContainerdApi } from './containerd-api.ts';
import { ensureLease } from './containerd-lease.ts';
import { ContentError } from './errors.ts';
import { fileBlob } from './file-blob.ts';
import { readWhole } from './read-whole.ts';
import { rechunk } from './rechunk.ts';
import type { BlobInfo, BlobReader, CachingStore, ListableStore, WriteOptions } from './store.ts';

export interface ContainerdStoreOptions {
  readonly api: ContainerdApi;
  /** Everything written goes into this lease, save what is cached. */
  readonly leaseId?: string;
}

/** Holds what is cached, and nothing but that: with its lease alone a blob goes at the next garbage collection. */
const CACHE_LEASE = 'soci-snapshotter-artifacts';
const CONTENT_PLUGIN = 'type==io.containerd.content.v1,id==content';
/** Each write is one round trip; containerd takes up to 16 MiB a message. */
const WRITE_BYTES = 2 << 20;
/** A large layer on a slow disk takes its time: the caller's signal is the limit. */
const NO_DEADLINE = { deadlineMs: Infinity } as const;
const ABORT_TIMEOUT_MS = 10_000;

interface Ingest {
  readonly ref: string;
  readonly descriptor: Descriptor;
  readonly content: Uint8Array | AsyncIterable<Uint8Array>;
  readonly labels: Readonly<Record<string, string>>;
  readonly leaseId: string | undefined;
}

/** containerd's content store, by its gRPC API. Blobs are read from containerd's own files where they can be reached. */
export class ContainerdStore implements ListableStore, CachingStore {
  readonly kind = 'containerd';
  readonly #api: ContainerdApi;
  readonly #leaseId: string | undefined;
  #root: Promise<string | undefined> | undefined;
  #cacheLease: Promise<string> | undefined;

  constructor({ api: containerd, leaseId }: ContainerdStoreOptions) {
    this.#api = containerd;
    this.#leaseId = leaseId;
  }

  async stat(digest: string, signal: AbortSignal): Promise<BlobInfo | undefined> {
    splitDigest(digest);
    try {
      const { info } = await this.#api.content.info({ digest }, { signal });
      if (info === undefined) throw new ContentError('STORE_BROKEN', `${digest}: containerd answers without a blob`);
      return { digest, sizeBytes: Number(info.size), labels: info.labels };
    } catch (cause) {
      if (hasCode(cause, 'NOT_FOUND')) return undefined;
      throw fromContainerd(digest, cause, signal);
    }
  }

  async open(digest: string, signal: AbortSignal): Promise<BlobReader> {
    const info = await this.stat(digest, signal);
    if (info === undefined) throw new ContentError('NOT_FOUND', `${digest}: not in containerd's content store`);
    const path = await this.#localFile(info, signal);
    if (path !== undefined) return fileBlob(path, info.sizeBytes);
    return {
      sizeBytes: info.sizeBytes,
      stream: (offsetBytes, streamSignal) => this.#stream(digest, offsetBytes, streamSignal),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  async read(digest: string, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    await using blob = await this.open(digest, signal);
    return await readWhole(digest, blob, maxBytes, signal);
  }

  async write(
    descriptor: Descriptor,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    { labels = {}, cached = false }: WriteOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const { digest } = descriptor;
    splitDigest(digest);
    const ref = `soci-${digest}-${randomBytes(6).toString('hex')}`;
    const leaseId = cached ? await this.#leaseOfCache(signal) : this.#leaseId;
    try {
      await this.#ingest({ ref, descriptor, content, labels, leaseId }, signal);
    } catch (cause) {
      if (hasCode(cause, 'ALREADY_EXISTS')) {
        if (Object.keys(labels).length > 0) await this.label(digest, labels, signal);
        return;
      }
      await this.#abandon(ref);
      this.#cacheLease = undefined; // somebody may have deleted it
      throw fromContainerd(`write ${digest}`, cause, signal);
    }
  }

  async label(digest: string, labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    splitDigest(digest);
    const info = api.Info.create({ digest, labels: { ...labels } });
    const paths = Object.keys(labels).map((key) => `labels.${key}`);
    try {
      if (this.#leaseId !== undefined)
        await this.#api.leases.addResource({ id: this.#leaseId, resource: blobResource(digest) }, { signal });
      if (paths.length === 0) await this.#api.content.info({ digest }, { signal });
      else await this.#api.content.update({ info, updateMask: paths }, { signal });
    } catch (cause) {
      throw fromContainerd(`label ${digest}`, cause, signal);
    }
  }

  async delete(digest: string, signal: AbortSignal): Promise<void> {
    splitDigest(digest);
    try {
      await this.#api.content.delete({ digest }, { signal });
    } catch (cause) {
      if (!hasCode(cause, 'NOT_FOUND')) throw fromContainerd(`delete ${digest}`, cause, signal);
    }
  }

  async release(digest: string, signal: AbortSignal): Promise<void> {
    splitDigest(digest);
    try {
      await this.#api.leases.deleteResource({ id: CACHE_LEASE, resource: blobResource(digest) }, { signal });
    } catch (cause) {
      if (!hasCode(cause, 'NOT_FOUND')) throw fromContainerd(`release ${digest}`, cause, signal);
    }
  }

  async *list(signal: AbortSignal): AsyncGenerator<BlobInfo> {
    try {
      for await (const { info } of this.#api.content.list({ filters: [] }, { signal, ...NO_DEADLINE })) {
        yield* info.map(({ digest, size, labels }) => ({ digest, sizeBytes: Number(size), labels }));
      }
    } catch (cause) {
      throw fromContainerd('list the content store', cause, signal);
    }
  }

  async #leaseOfCache(signal: AbortSignal): Promise<string> {
    try {
      return await (this.#cacheLease ??= ensureLease(this.#api, CACHE_LEASE, signal));
    } catch (cause) {
      this.#cacheLease = undefined;
      throw cause;
    }
  }

  async *#stream(digest: string, offsetBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    try {
      const request = { digest, offset: BigInt(offsetBytes), size: 0n };
      for await (const { data } of this.#api.content.read(request, { signal, ...NO_DEADLINE })) yield data;
    } catch (cause) {
      throw fromContainerd(`read ${digest}`, cause, signal);
    }
  }

  /**
   * One ingest. containerd may answer the first message with an offset that is not zero: it has that much already, from another namespace.
   * The bytes are checked here as well, so that the error is the same as with any store.
   */
  async #ingest({ ref, descriptor: { digest, size }, content, labels, leaseId }: Ingest, signal: AbortSignal): Promise<void> {
    using call = this.#api.content.write({ ...callOptions(signal, leaseId), ...NO_DEADLINE });
    const exchange = async (request: Partial<api.WriteContentRequest>): Promise<api.WriteContentResponse> => {
      await call.send(api.WriteContentRequest.create({ ref, total: BigInt(size), expected: digest, ...request }));
      const response = await call.receive();
      if (response === undefined) throw new ContentError('STORE_BROKEN', `write ${digest}: containerd ended the write before its commit`);
      return response;
    };
    const started = await exchange({ action: api.WriteAction.STAT });
    const have = Number(started.offset);
    const check = new BlobCheck(digest, size);
    let position = 0;
    for await (const chunk of rechunk(content, WRITE_BYTES)) {
      check.update(chunk);
      const data = chunk.subarray(Math.min(Math.max(have - position, 0), chunk.length));
      position += chunk.length;
      if (data.length === 0) continue;
      await exchange({
        action: api.WriteAction.WRITE,
        offset: BigInt(position - data.length),
        data: Buffer.from(data.buffer, data.byteOffset, data.length),
      });
    }
    check.finish(size);
    await exchange({ action: api.WriteAction.COMMIT, offset: BigInt(size), labels: { ...labels } });
    call.end();
  }

  /** What was half written goes now, not when the lease ends. An ingest that was never begun is no error, and no failure here hides the one that led to it. */
  async #abandon(ref: string): Promise<void> {
    await this.#api.content.abort({ ref }, { signal: AbortSignal.timeout(ABORT_TIMEOUT_MS) }).catch(() => undefined);
  }

  /** containerd's own file of a blob, if its root is reachable from here and the file there has the right size. */
  async #localFile({ digest, sizeBytes }: BlobInfo, signal: AbortSignal): Promise<string | undefined> {
    const root = await (this.#root ??= this.#findRoot(signal));
    if (root === undefined) return undefined;
    const { algorithm, hex } = splitDigest(digest);
    const path = join(root, 'blobs', algorithm, hex);
    const found = await stat(path).catch(() => undefined); // not reachable for whatever reason: then by gRPC
    return found?.isFile() === true && found.size === sizeBytes ? path : undefined;
  }

  async #findRoot(signal: AbortSignal): Promise<string | undefined> {
    try {
      const { plugins } = await this.#api.introspection.plugins({ filters: [CONTENT_PLUGIN] }, { signal });
      return plugins.find(({ exports }) => exports.root !== undefined)?.exports.root;
    } catch (cause) {
      if (signal.aborted) {
        this.#root = undefined;
        throw signal.reason;
      }
      if (hasCode(cause, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw fromContainerd('find the content store', cause, signal);
      return undefined; // a containerd that does not tell
    }
  }
}

function blobResource(digest: string): { readonly id: string; readonly type: string } {
  return { id: digest, type: 'content' };
}
