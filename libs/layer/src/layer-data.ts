import { constants } from 'node:fs';
import { access, type FileHandle, open, readFile } from 'node:fs/promises';
import { isNotFound } from '@soci/errors';
import { LayerError } from './errors.ts';
import { readSpanIndex, type SpanIndex } from './span-index.ts';
import { clearBit, hasBit, setBit } from './bitmap.ts';
import { SpanMap } from './span-map.ts';

/** Files of one layer on disk. */
export interface LayerPaths {
  /** The zTOC blob as it was fetched, or made here. */
  readonly ztoc: string;
  /** What serving needs of it, see `SpanIndex`. */
  readonly index: string;
  /** The uncompressed tar at its own offsets, sparse until it is complete, rounded up to 512 bytes with zeros. */
  readonly data: string;
  readonly map: string;
}

/** A device block: the data file and what is mounted over it are rounded up to it. */
export const DEVICE_BLOCK_BYTES = 512;

/** The bytes of one layer, open: the data file, and which spans of the tar it holds. */
export class LayerData implements AsyncDisposable {
  /** See `layerKey`. */
  readonly key: string;
  /** Digest of the layer blob. */
  readonly digest: string;
  readonly index: SpanIndex;
  readonly paths: LayerPaths;
  /** Size of the data file. */
  readonly deviceSizeBytes: number;
  /** One bit a span, on shared memory: set means that the span's bytes may be read from the data file. */
  readonly present: Int32Array;
  /** Like `present`, set by the thread that stores spans, for every span whose bytes are in the data file, announced or not. */
  readonly onDisk: Int32Array;
  /** Spans that the map lists and nobody has checked since an unclean stop. */
  readonly suspects = new Set<number>();
  /** Told of spans whose bytes the disk did not take: they are not here any more. */
  onLost: (spans: readonly number[], error: unknown) => void = () => undefined;
  readonly #data: FileHandle;
  readonly #map: SpanMap;
  readonly #isStored: Uint8Array;
  #storedCount = 0;
  #isComplete = false;
  #flushing: Promise<void> = Promise.resolve();

  private constructor(key: string, digest: string, paths: LayerPaths, index: SpanIndex, data: FileHandle, map: SpanMap) {
    this.key = key;
    this.digest = digest;
    this.paths = paths;
    this.index = index;
    this.deviceSizeBytes = roundUp(index.dataSizeBytes);
    this.present = newBitmap(index.spanCount);
    this.onDisk = newBitmap(index.spanCount);
    this.#isStored = new Uint8Array(index.spanCount);
    this.#data = data;
    this.#map = map;
  }

  /**
   * Opens a layer that was prepared before.
   * @throws {LayerError} `NOT_FOUND` when it was not, `STORE_BROKEN` when its files are unusable
   */
  static async open(key: string, digest: string, paths: LayerPaths): Promise<LayerData> {
    await using opened = new AsyncDisposableStack();
    try {
      const index = readSpanIndex(await readFile(paths.index));
      const data = opened.use(await open(paths.data, constants.O_RDWR | constants.O_CREAT, 0o600));
      await access(paths.ztoc);
      const { map, isTrusted, isComplete, spans } = await SpanMap.open(paths.map, index.spanCount);
      opened.use(map);
      const layer = new LayerData(key, digest, paths, index, data, map);
      const hasSize = (await data.stat()).size === layer.deviceSizeBytes;
      if (!hasSize) await data.truncate(layer.deviceSizeBytes);
      for (const span of spans) {
        if (isTrusted && hasSize) layer.#setStored(span);
        else layer.suspects.add(span);
      }
      layer.#isComplete = (isComplete && hasSize) || index.spanCount === 0;
      opened.move();
      return layer;
    } catch (cause) {
      if (cause instanceof LayerError) throw cause;
      throw new LayerError(isNotFound(cause) ? 'NOT_FOUND' : 'STORE_BROKEN', `layer ${digest}: cannot be opened`, { cause });
    }
  }

  get dataFd(): number {
    return this.#data.fd;
  }

  /** Every span is in the data file, on disk, and checked: nothing is ever written to these files again. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Every span is in the data file and checked, if not yet known to be on disk: nobody will need a registry for it while this machine runs. */
  get isFilled(): boolean {
    return this.#storedCount >= this.index.spanCount;
  }

  /** Spans whose bytes are in the data file and known to be right. */
  get storedCount(): number {
    return this.#storedCount;
  }

  get isDirty(): boolean {
    return this.#map.isDirty;
  }

  isPresent(span: number): boolean {
    return hasBit(this.present, span);
  }

  /** Lets readers of the data file see a span that was stored. */
  announce(span: number): void {
    setBit(this.present, span);
  }

  /** Checksum that a suspect span should have. */
  expectedChecksum(span: number): number {
    return this.#map.checksum(span);
  }

  /** Notes that the span's bytes were written to the data file, or were found right there. */
  stored(span: number, checksum: number): void {
    this.#map.add(span, checksum);
    this.suspects.delete(span);
    this.#count(span);
  }

  /** Notes that the data file holds all of the tar, with these checksums of its spans, and lets readers see it. */
  storedAll(checksums: Uint32Array): void {
    for (let span = 0; span < this.index.spanCount; span++) {
      if (this.isPresent(span)) continue;
      this.stored(span, checksums[span] ?? 0);
      setBit(this.onDisk, span);
      this.announce(span);
    }
  }

  /** Notes that a suspect span's bytes are wrong. */
  dropSuspect(span: number): void {
    if (this.suspects.delete(span)) this.#map.drop(span);
  }

  /**
   * Puts on disk what was stored: the data first, then the map; and when every span is there, that the layer is complete. One at a time.
   * @throws when the disk fails; what was not written is tried again by the next call
   */
  flush(): Promise<void> {
    const flushed = this.#flushing.then(() => this.#flush());
    this.#flushing = flushed.catch(() => undefined); // each caller hears of its own flush
    return flushed;
  }

  /** Flushes and closes. A layer all of whose spans were checked is trusted when it is opened again. */
  async [Symbol.asyncDispose](): Promise<void> {
    await using files = new AsyncDisposableStack();
    files.use(this.#data);
    files.use(this.#map);
    await this.flush();
    if (!this.#isComplete && this.suspects.size === 0) await this.#map.close('clean');
  }

  async #flush(): Promise<void> {
    if (this.#isComplete) return;
    const spans = this.#map.takeDirty();
    if (spans.length > 0) {
      await this.#syncData(spans);
      try {
        await this.#map.write(spans);
      } catch (cause) {
        this.#map.markDirty(spans);
        throw new LayerError('DISK_FAILED', `layer ${this.digest}: its span map cannot be flushed`, { cause });
      }
    }
    if (!this.isFilled || this.#map.isDirty) return;
    await this.#map.close('complete');
    this.#isComplete = true;
  }

  /** After a failure the kernel says no more of it, and reads the old bytes from the disk once it has dropped its pages: what was to be flushed is forgotten. */
  async #syncData(spans: readonly number[]): Promise<void> {
    try {
      await this.#data.datasync();
    } catch (cause) {
      const lost = [...spans, ...this.#map.takeDirty()];
      for (const span of lost) this.#lose(span);
      this.onLost(lost, cause);
      throw new LayerError('DISK_FAILED', `layer ${this.digest}: cannot be flushed`, { cause });
    }
  }

  #lose(span: number): void {
    this.#map.drop(span);
    if (this.#isStored[span] === 1) this.#storedCount--;
    this.#isStored[span] = 0;
    clearBit(this.present, span);
    clearBit(this.onDisk, span);
  }

  /** Each span once, whoever brings it: a layer that took itself for complete would show holes as zeros. */
  #count(span: number): void {
    if (this.#isStored[span] === 1) return;
    this.#isStored[span] = 1;
    this.#storedCount++;
  }

  #setStored(span: number): void {
    this.#count(span);
    setBit(this.onDisk, span);
    this.announce(span);
  }
}

/** One bit per span on shared memory, 32 to a word, lowest bit first. */
function newBitmap(spanCount: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(Math.max(1, (spanCount + 31) >>> 5) * 4));
}

/** Bytes of the device that holds a tar of that many bytes. */
export function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / DEVICE_BLOCK_BYTES) * DEVICE_BLOCK_BYTES;
}
