import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { LayerError } from './errors.ts';

const MAGIC = 0x314d5053; // SPM1
const HEAD_BYTES = 32;
const ENTRY_BYTES = 8;
const STATE = { open: 1, clean: 2, complete: 3 } as const;
type State = keyof typeof STATE;

/** What a span map says about a span when the file is opened. */
export interface MapOpening {
  readonly map: SpanMap;
  /** Whether the map may be believed as it stands: it was closed, or the layer had been completed, and nothing was written since. */
  readonly isTrusted: boolean;
  readonly isComplete: boolean;
  /** The spans that are in the data file, in order. */
  readonly spans: readonly number[];
}

/**
 * Which spans a data file holds, with a checksum of each one's inflated bytes, in a small file beside it. An entry is 8 bytes: the checksum,
 * and a check of the entry itself that knows the span's number; so a torn write is no entry. The state in the head says whether the
 * checksums have to be asked before the data is believed.
 */
export class SpanMap implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #spanCount: number;
  readonly #entries: DataView;
  readonly #dirty = new Set<number>();

  private constructor(file: FileHandle, spanCount: number, entries: DataView) {
    this.#file = file;
    this.#spanCount = spanCount;
    this.#entries = entries;
  }

  /** Opens the map at `path`, a new one when there is none or it is of another layer's shape, and marks it open on disk unless it is complete. */
  static async open(path: string, spanCount: number): Promise<MapOpening> {
    const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const bytes = new Uint8Array(HEAD_BYTES + spanCount * ENTRY_BYTES);
      const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
      const entries = new DataView(bytes.buffer, HEAD_BYTES);
      const state = bytesRead < HEAD_BYTES ? undefined : readHead(new DataView(bytes.buffer), spanCount);
      if (state === undefined) new Uint8Array(bytes.buffer).fill(0);
      const map = new SpanMap(file, spanCount, entries);
      const spans = Array.from({ length: spanCount }, (_, span) => span).filter((span) => map.#isEntry(span));
      const isComplete = state === 'complete' && spans.length === spanCount;
      if (!isComplete && state !== 'open') await map.#writeHead('open', state === undefined); // after a kill it says so already
      return { map, isTrusted: isComplete || state === 'clean', isComplete, spans };
    } catch (cause) {
      await file.close();
      throw new LayerError('STORE_BROKEN', `span map ${path}: cannot be opened`, { cause });
    }
  }

  get isDirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** The checksum of a span that is in the map. */
  checksum(span: number): number {
    return this.#entries.getUint32(span * ENTRY_BYTES, true);
  }

  /** Notes that a span's bytes were written; on disk only after `write`. */
  add(span: number, checksum: number): void {
    this.#entries.setUint32(span * ENTRY_BYTES, checksum, true);
    this.#entries.setUint32(span * ENTRY_BYTES + 4, entryCheck(span, checksum), true);
    this.#dirty.add(span);
  }

  /** Notes that a span's bytes are not what they should be. */
  drop(span: number): void {
    this.#entries.setUint32(span * ENTRY_BYTES, 0, true);
    this.#entries.setUint32(span * ENTRY_BYTES + 4, 0, true);
    this.#dirty.add(span);
  }

  /** The spans noted since the last call; the caller flushes the data, then hands them to `write`. */
  takeDirty(): number[] {
    const spans = [...this.#dirty].sort((a, b) => a - b);
    this.#dirty.clear();
    return spans;
  }

  /** Notes spans again that `takeDirty` gave and that could not be written. */
  markDirty(spans: readonly number[]): void {
    for (const span of spans) this.#dirty.add(span);
  }

  /** Puts the entries of these spans on disk. */
  async write(spans: readonly number[]): Promise<void> {
    for (let i = 0; i < spans.length; ) {
      const first = spans[i] ?? 0;
      let count = 1;
      while (spans[i + count] === first + count) count++;
      const bytes = new Uint8Array(this.#entries.buffer, HEAD_BYTES + first * ENTRY_BYTES, count * ENTRY_BYTES);
      await this.#file.write(bytes, 0, bytes.length, HEAD_BYTES + first * ENTRY_BYTES);
      i += count;
    }
    await this.#file.datasync();
  }

  /** Says on disk that the map may be believed: everything noted was written, and nothing will be before it is opened again. */
  async close(state: 'clean' | 'complete'): Promise<void> {
    await this.#writeHead(state, false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  #isEntry(span: number): boolean {
    const check = this.#entries.getUint32(span * ENTRY_BYTES + 4, true);
    return check !== 0 && check === entryCheck(span, this.checksum(span));
  }

  async #writeHead(state: State, isNew: boolean): Promise<void> {
    const head = new DataView(new ArrayBuffer(HEAD_BYTES));
    head.setUint32(0, MAGIC, true);
    head.setUint32(4, this.#spanCount, true);
    head.setUint32(8, STATE[state], true);
    head.setUint32(12, headCheck(head), true);
    if (isNew) await this.#file.truncate(0);
    if (isNew) await this.#file.truncate(HEAD_BYTES + this.#spanCount * ENTRY_BYTES);
    await this.#file.write(new Uint8Array(head.buffer), 0, HEAD_BYTES, 0);
    await this.#file.datasync();
  }
}

function readHead(head: DataView, spanCount: number): State | undefined {
  if (head.getUint32(0, true) !== MAGIC || head.getUint32(4, true) !== spanCount || head.getUint32(12, true) !== headCheck(head))
    return undefined;
  const number = head.getUint32(8, true);
  return (Object.keys(STATE) as State[]).find((state) => STATE[state] === number);
}

function headCheck(head: DataView): number {
  return crc32(new Uint8Array(head.buffer, head.byteOffset, 12));
}

/** Of a span's number and its checksum. Never 0, which is what an absent entry has. */
function entryCheck(span: number, checksum: number): number {
  return (Math.imul(span ^ MAGIC, 0x9e3779b1) ^ Math.imul(checksum + 1, 0x85ebca6b)) >>> 0 || 1;
}
