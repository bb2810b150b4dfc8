import { closeSync, openSync, writeSync } from 'node:fs';
import { hasBit } from './bitmap.ts';
import { LayerError } from './errors.ts';
import { readFully } from './read-fully.ts';
import type { SpanIndex } from './span-index.ts';

/** A layer as the thread that stores spans has it open: with descriptors of its own, which nobody closes meanwhile. */
export class OpenLayer {
  readonly index: SpanIndex;
  /** One bit a span: its bytes are in the data file. */
  readonly onDisk: Int32Array;
  readonly #paths: { readonly dataPath: string; readonly ztocPath: string };
  #dataFd: number | undefined;
  #ztocFd: number | undefined;
  #isClosed = false;

  constructor(index: SpanIndex, onDisk: Int32Array, paths: { readonly dataPath: string; readonly ztocPath: string }) {
    this.index = index;
    this.onDisk = onDisk;
    this.#paths = paths;
  }

  isOnDisk(span: number): boolean {
    return hasBit(this.onDisk, span);
  }

  /** Bytes of the data file. @throws {LayerError} `CLOSED`; and what the disk says */
  read<T extends Uint8Array>(into: T, offsetBytes: number): T {
    return readFully(this.#data(), into, offsetBytes);
  }

  readZtoc<T extends Uint8Array>(into: T, offsetBytes: number): T {
    this.#assertOpen();
    return readFully((this.#ztocFd ??= openSync(this.#paths.ztocPath, 'r')), into, offsetBytes);
  }

  write(bytes: Uint8Array, offsetBytes: number): void {
    const fd = this.#data();
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, offsetBytes + done);
  }

  close(): void {
    this.#isClosed = true;
    for (const fd of [this.#dataFd, this.#ztocFd]) if (fd !== undefined) closeSync(fd);
    this.#dataFd = undefined;
    this.#ztocFd = undefined;
  }

  #data(): number {
    this.#assertOpen();
    return (this.#dataFd ??= openSync(this.#paths.dataPath, 'r+'));
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new LayerError('CLOSED', 'layer is closed');
  }
}
