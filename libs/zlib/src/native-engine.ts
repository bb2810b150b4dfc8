import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import type { KoffiFunc, LibraryHandle } from 'koffi';
import { type BlockInflater, GZIP_WINDOW_BITS, type InflateEngine, INPUT_BYTES, OUTPUT_BYTES, STATUS, Z_BLOCK } from './inflate-engine.ts';
import { ZlibError } from './zlib-error.ts';

/** `z_stream` where pointers and `long` have 64 bits. */
const STREAM_BYTES = 112;
/** Its fields as indices of 32-bit words. Those from `msg` on are left alone. */
const WORD = { nextIn: 0, availableIn: 2, nextOut: 6, availableOut: 8, dataType: 22 };
const TWO_32 = 2 ** 32;

type Koffi = typeof import('koffi');

/** All of zlib that is called. A wrong signature here is no exception but a crash. */
interface ZlibFunctions {
  readonly version: string;
  readonly init: KoffiFunc<(stream: bigint, windowBits: number, version: string, streamBytes: number) => number>;
  readonly inflate: KoffiFunc<(stream: bigint, flush: number) => number>;
  readonly reset: KoffiFunc<(stream: bigint, windowBits: number) => number>;
  readonly end: KoffiFunc<(stream: bigint) => number>;
}

/**
 * zlib by FFI: the copy inside the node binary, which exports its symbols, or the system's where node was built without one.
 *
 * @throws {ZlibError} `ENGINE_UNAVAILABLE` when there is neither, or the machine's memory layout is another than the one known here
 */
export function openNativeEngine(): InflateEngine {
  // process.arch tells LP64 apart only by name; these two are what is tested.
  if (endianness() !== 'LE' || !['x64', 'arm64'].includes(process.arch) || process.platform === 'win32') {
    throw new ZlibError('ENGINE_UNAVAILABLE', `zlib by FFI is not known to work on ${process.platform} ${process.arch}`);
  }
  const koffi = loadKoffi();
  const causes: unknown[] = [];
  for (const library of [null, 'libz.so.1']) {
    try {
      const zlib = bind(koffi.load(library));
      return { name: 'native', open: () => new NativeInflater(koffi, zlib) };
    } catch (cause) {
      causes.push(cause);
    }
  }
  throw new ZlibError('ENGINE_UNAVAILABLE', 'no zlib to call by FFI', { cause: new AggregateError(causes) });
}

/** Not by `import`: where its binary is missing, the rest of this library works all the same. */
function loadKoffi(): Koffi {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch (cause) {
    throw new ZlibError('ENGINE_UNAVAILABLE', 'koffi cannot be loaded', { cause });
  }
}

function bind(library: LibraryHandle): ZlibFunctions {
  const version = library.func('zlibVersion', 'str', []) as KoffiFunc<() => string>;
  return {
    version: version(),
    init: library.func('inflateInit2_', 'int', ['uintptr_t', 'int', 'str', 'int']) as ZlibFunctions['init'],
    inflate: library.func('inflate', 'int', ['uintptr_t', 'int']) as ZlibFunctions['inflate'],
    reset: library.func('inflateReset2', 'int', ['uintptr_t', 'int']) as ZlibFunctions['reset'],
    end: library.func('inflateEnd', 'int', ['uintptr_t']) as ZlibFunctions['end'],
  };
}

/** Memory that zlib holds addresses of: `ArrayBuffer`s of their own, which never move, kept alive by this object. */
class NativeInflater implements BlockInflater {
  readonly input = new Uint8Array(new ArrayBuffer(INPUT_BYTES));
  readonly output = new Uint8Array(new ArrayBuffer(OUTPUT_BYTES));
  produced = 0;
  readonly #zlib: ZlibFunctions;
  readonly #stream = new Uint32Array(new ArrayBuffer(STREAM_BYTES));
  readonly #streamAddress: bigint;
  readonly #inputAddress: number;
  readonly #outputAddress: number;
  #open = false;

  constructor({ address }: Koffi, zlib: ZlibFunctions) {
    this.#zlib = zlib;
    this.#streamAddress = address(this.#stream.buffer);
    this.#inputAddress = Number(address(this.input.buffer));
    this.#outputAddress = Number(address(this.output.buffer));
    const status = zlib.init(this.#streamAddress, GZIP_WINDOW_BITS, zlib.version, STREAM_BYTES);
    if (status !== STATUS.ok) throw new ZlibError('ENGINE_UNAVAILABLE', `inflateInit2 of zlib ${zlib.version}: status ${status}`);
    this.#open = true;
  }

  get availableIn(): number {
    return this.#stream[WORD.availableIn] ?? 0;
  }

  get dataType(): number {
    return this.#stream[WORD.dataType] ?? 0;
  }

  setInput(length: number): void {
    this.#setPointer(WORD.nextIn, this.#inputAddress);
    this.#stream[WORD.availableIn] = Math.min(length, INPUT_BYTES);
  }

  inflate(start: number): number {
    if (!this.#open || start < 0 || start > OUTPUT_BYTES) throw new ZlibError('INVALID_ARGUMENT', `inflate to ${start}`);
    const room = OUTPUT_BYTES - start;
    this.#setPointer(WORD.nextOut, this.#outputAddress + start);
    this.#stream[WORD.availableOut] = room;
    const status = this.#zlib.inflate(this.#streamAddress, Z_BLOCK);
    this.produced = room - (this.#stream[WORD.availableOut] ?? 0);
    return status;
  }

  reset(): void {
    const status = this.#zlib.reset(this.#streamAddress, GZIP_WINDOW_BITS);
    if (status !== STATUS.ok) throw new ZlibError('DATA_CORRUPT', `inflateReset2: status ${status}`);
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#zlib.end(this.#streamAddress);
  }

  #setPointer(word: number, address: number): void {
    const low = address >>> 0;
    this.#stream[word] = low;
    this.#stream[word + 1] = (address - low) / TWO_32;
  }
}
