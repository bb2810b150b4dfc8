import type { Descriptor } from '@soci/image';
import type { BlobRequest, BlobSource, LayerSource } from '@soci/layer';
import type { ImageSource } from './image-planner.ts';

/** What is kept in memory of layers that are fetched whole, until their turn comes: most of them are below 10 MiB. */
const MAX_LAYER_BYTES = 16 << 20;
const MAX_IMAGE_BYTES = 64 << 20;
/** The same for zTOCs, which have a megabyte or ten. */
const MAX_ZTOC_BYTES = 256 << 20;

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Fetches what the layers of an image are prepared from, all at the same time, while they are prepared one after the other.
 * A failure is heard of by whoever asks for the bytes.
 */
export class EarlyArtifacts {
  readonly #image: Pick<LayerSource, 'reference' | 'namespaces'>;
  readonly #source: ImageSource;
  readonly #signal: AbortSignal;
  readonly #bytes = new Map<string, Promise<Bytes>>();
  #keptBytes = 0;
  #ztocBytes = 0;

  constructor({ reference, namespaces }: Pick<LayerSource, 'reference' | 'namespaces'>, source: ImageSource, signal: AbortSignal) {
    this.#image = { reference, namespaces };
    this.#source = source;
    this.#signal = signal;
  }

  /** Only if there is room for it: who asks for one that was not fetched early waits for it alone. */
  startZtoc(ztoc: Descriptor): void {
    if (this.#ztocBytes + ztoc.size > MAX_ZTOC_BYTES || this.#bytes.has(ztoc.digest)) return;
    this.#ztocBytes += ztoc.size;
    this.#start(ztoc.digest, () => this.#readZtoc(ztoc, this.#signal));
  }

  /** Only if it is small enough to be kept. */
  startLayer({ digest, size }: Descriptor): void {
    if (size === 0 || size > MAX_LAYER_BYTES || this.#keptBytes + size > MAX_IMAGE_BYTES || this.#bytes.has(digest)) return;
    this.#keptBytes += size;
    const request = { ...this.#image, digest, offsetBytes: 0, lengthBytes: size, priority: 'demand' } as const;
    this.#start(digest, () => readAll(this.#source, request, this.#signal));
  }

  /** A zTOC; what was fetched early is handed out once. */
  async ztoc(ztoc: Descriptor, signal: AbortSignal): Promise<Bytes> {
    return (await this.#take(ztoc.digest)) ?? (await this.#readZtoc(ztoc, signal));
  }

  /** Reads layers; one that was fetched early from memory. */
  layerSource(): BlobSource {
    const take = (digest: string): Promise<Bytes | undefined> => this.#take(digest);
    const source = this.#source;
    return {
      async *read(request, signal) {
        const early = await take(request.digest);
        if (early === undefined) yield* source.read(request, signal);
        else yield early;
      },
    };
  }

  #start(digest: string, fetch: () => Promise<Bytes>): void {
    if (this.#bytes.has(digest)) return;
    const fetching = fetch();
    fetching.catch(() => undefined); // nobody may ask, because another one failed first
    this.#bytes.set(digest, fetching);
  }

  /** Undefined when it was not fetched early, or given up: another image may wait for the same layer, and its pull goes on. */
  async #take(digest: string): Promise<Bytes | undefined> {
    const early = this.#bytes.get(digest);
    this.#bytes.delete(digest);
    try {
      return await early;
    } catch (cause) {
      if (this.#signal.aborted) return undefined;
      throw cause;
    }
  }

  #readZtoc(descriptor: Descriptor, signal: AbortSignal): Promise<Bytes> {
    return this.#source.readArtifact({ ...this.#image, descriptor }, signal);
  }
}

async function readAll(source: BlobSource, request: BlobRequest, signal: AbortSignal): Promise<Bytes> {
  const bytes = new Uint8Array(request.lengthBytes);
  let filled = 0;
  for await (const piece of source.read(request, signal)) {
    if (filled + piece.length > bytes.length) throw new RangeError(`layer ${request.digest}: more bytes than its manifest says`);
    bytes.set(piece, filled);
    filled += piece.length;
  }
  return bytes.subarray(0, filled);
}
