import { gunzipSync, inflateSync } from 'node:zlib';
import { CriError } from './errors.ts';

/** containerd's limit for a message in either direction, also once it is inflated: it refuses what is larger. */
export const MAX_MESSAGE_BYTES = 16 << 20;
const PREFIX_BYTES = 5;
const INFLATE = new Map([
  ['gzip', gunzipSync],
  ['deflate', inflateSync],
]);

export interface MessageTapOptions {
  /** Called with the first message once it is complete. It may not throw, and may not keep the bytes. */
  readonly onFirst?: ((message: Uint8Array) => void) | undefined;
  /** Value of `grpc-encoding`. */
  readonly encoding: string | undefined;
}

/**
 * Watches one direction of a gRPC call go by: bounds the length of every message and shows the first one to whom it concerns.
 * A message is a byte that says whether it is compressed, four of length, and that many bytes.
 */
export class MessageTap {
  readonly #options: MessageTapOptions;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixBytes = 0;
  #left = 0;
  #first: Buffer[] | undefined;
  #isFirstCompressed = false;

  constructor(options: MessageTapOptions) {
    this.#options = options;
    this.#first = options.onFirst === undefined ? undefined : [];
  }

  /** @throws {CriError} `TOO_LARGE` */
  write(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#prefixBytes < PREFIX_BYTES) at += this.#takePrefix(chunk, at);
      else {
        const taken = Math.min(this.#left, chunk.length - at);
        this.#first?.push(chunk.subarray(at, at + taken));
        this.#left -= taken;
        at += taken;
      }
      if (this.#prefixBytes === PREFIX_BYTES && this.#left === 0) this.#messageEnded();
    }
  }

  #takePrefix(chunk: Buffer, at: number): number {
    const taken = chunk.copy(this.#prefix, this.#prefixBytes, at, at + PREFIX_BYTES - this.#prefixBytes);
    this.#prefixBytes += taken;
    if (this.#prefixBytes < PREFIX_BYTES) return taken;
    this.#left = this.#prefix.readUInt32BE(1);
    if (this.#left > MAX_MESSAGE_BYTES)
      throw new CriError('TOO_LARGE', `message of ${this.#left} bytes is larger than ${MAX_MESSAGE_BYTES}`);
    this.#isFirstCompressed = this.#prefix[0] === 1;
    return taken;
  }

  #messageEnded(): void {
    this.#prefixBytes = 0;
    const parts = this.#first;
    this.#first = undefined;
    if (parts === undefined) return;
    const message = this.#inflate(parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts));
    if (message !== undefined) this.#options.onFirst?.(message);
  }

  /** @returns undefined for what cannot be read: that is for containerd to refuse */
  #inflate(message: Buffer): Buffer | undefined {
    if (!this.#isFirstCompressed) return message;
    try {
      return INFLATE.get(this.#options.encoding ?? '')?.(message, { maxOutputLength: MAX_MESSAGE_BYTES });
    } catch {
      return undefined;
    }
  }
}
