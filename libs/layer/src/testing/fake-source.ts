import { setTimeout as sleep } from 'node:timers/promises';
import type { BlobRequest, BlobSource, BlobSourceChange } from '../blob-source.ts';

export type Fault =
  | { readonly kind: 'none' }
  | { readonly kind: 'flip-byte'; readonly atBytes: number }
  | { readonly kind: 'short'; readonly afterBytes: number }
  | { readonly kind: 'hang' }
  | { readonly kind: 'linger' } // everything comes, and then no end
  | { readonly kind: 'error'; readonly message: string; readonly code?: string; readonly when?: Promise<undefined> }
  | { readonly kind: 'slow'; readonly delayMs: number };

/** Serves one blob from memory, in pieces of 10,000 bytes, with faults. */
export class FakeSource implements BlobSource {
  readonly requests: BlobRequest[] = [];
  fault: (request: BlobRequest, count: number) => Fault = () => ({ kind: 'none' });
  /** A request waits for this before its first piece. */
  gate: Promise<void> | undefined;
  readonly #blobs: ReadonlyMap<string, Uint8Array>;
  readonly #listeners = new Set<(change: BlobSourceChange) => void>();

  constructor(blobs: ReadonlyMap<string, Uint8Array>) {
    this.#blobs = blobs;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  onChange(listener: (change: BlobSourceChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  tell(change: BlobSourceChange): void {
    for (const listener of this.#listeners) listener(change);
  }

  async *read(request: BlobRequest, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    this.requests.push(request);
    const fault = this.fault(request, this.requests.length);
    await this.gate;
    if (fault.kind === 'error') await fault.when;
    if (fault.kind === 'error') throw Object.assign(new Error(fault.message), { code: fault.code });
    if (fault.kind === 'hang') await sleep(60_000, undefined, { signal, ref: false });
    const blob = this.#blobs.get(request.digest) ?? new Uint8Array(0);
    const end = request.offsetBytes + request.lengthBytes;
    for (let at = request.offsetBytes; at < end; at += 10_000) {
      if (fault.kind === 'slow') await sleep(fault.delayMs, undefined, { signal });
      const piece = Uint8Array.from(blob.subarray(at, Math.min(at + 10_000, end)));
      if (fault.kind === 'short' && at - request.offsetBytes >= fault.afterBytes) return;
      if (fault.kind === 'flip-byte') flip(piece, fault.atBytes - at);
      yield piece;
    }
    if (fault.kind === 'linger') await sleep(60_000, undefined, { signal, ref: false });
  }
}

function flip(piece: Uint8Array, at: number): void {
  const byte = piece[at];
  if (byte !== undefined) piece[at] = byte ^ 1;
}
