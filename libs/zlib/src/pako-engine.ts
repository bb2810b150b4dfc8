import { ZStream, zlibInflate, zlibInflateEnd, zlibInflateInit2, zlibInflateReset2 } from 'pako';
import { type BlockInflater, GZIP_WINDOW_BITS, type InflateEngine, INPUT_BYTES, OUTPUT_BYTES, STATUS, Z_BLOCK } from './inflate-engine.ts';
import { ZlibError } from './zlib-error.ts';

/** zlib in JavaScript: the same checkpoints everywhere, at about a third of the speed. */
export const PAKO_ENGINE: InflateEngine = { name: 'pako', open: () => new PakoInflater() };

class PakoInflater implements BlockInflater {
  readonly input = new Uint8Array(INPUT_BYTES);
  readonly output = new Uint8Array(OUTPUT_BYTES);
  produced = 0;
  readonly #stream = new ZStream();

  constructor() {
    this.#stream.input = this.input;
    this.#stream.output = this.output;
    const status = zlibInflateInit2(this.#stream, GZIP_WINDOW_BITS);
    if (status !== STATUS.ok) throw new ZlibError('ENGINE_UNAVAILABLE', `pako: status ${status}`);
  }

  get availableIn(): number {
    return this.#stream.avail_in;
  }

  get dataType(): number {
    return this.#stream.data_type;
  }

  setInput(length: number): void {
    this.#stream.next_in = 0;
    this.#stream.avail_in = length;
  }

  inflate(start: number): number {
    const room = OUTPUT_BYTES - start;
    this.#stream.next_out = start;
    this.#stream.avail_out = room;
    const status = zlibInflate(this.#stream, Z_BLOCK);
    this.produced = room - this.#stream.avail_out;
    return status;
  }

  reset(): void {
    zlibInflateReset2(this.#stream, GZIP_WINDOW_BITS);
  }

  [Symbol.dispose](): void {
    zlibInflateEnd(this.#stream);
  }
}
