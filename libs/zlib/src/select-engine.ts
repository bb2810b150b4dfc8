import { constants, gzipSync, inflateRawSync } from 'node:zlib';
import { alignBits, SPAN_HEADROOM_BYTES } from './align-bits.ts';
import { type Checkpoint, CheckpointedInflate } from './checkpointed-inflate.ts';
import type { InflateEngine } from './inflate-engine.ts';
import { openNativeEngine } from './native-engine.ts';
import { PAKO_ENGINE } from './pako-engine.ts';
import { ZlibError } from './zlib-error.ts';

const SAMPLE_BYTES = 50_000;
const SAMPLE_SPAN_BYTES = 7000;
const SAMPLE_PIECE_BYTES = 777;
/** Deflate's smallest block buffer: a block every few hundred bytes. */
const SMALL_BLOCKS = { memLevel: constants.Z_MIN_MEMLEVEL };

let selected: InflateEngine | undefined;

/** The fastest engine that works in this process. Decided once. */
export function selectEngine(): InflateEngine {
  selected ??= chooseEngine(openNativeEngine);
  return selected;
}

/** The engine that is opened, once it has shown on a small stream that it works; else the one in JavaScript, which makes the same bytes. */
export function chooseEngine(open: () => InflateEngine): InflateEngine {
  try {
    const engine = open();
    testEngine(engine);
    return engine;
  } catch (error) {
    if (error instanceof ZlibError) return PAKO_ENGINE;
    throw error;
  }
}

/**
 * Makes checkpoints of a stream of two members with many blocks, and decodes from each of them with node's own zlib.
 *
 * @throws {ZlibError} `ENGINE_UNAVAILABLE` when anything is not as it was before compression
 */
export function testEngine(engine: InflateEngine): void {
  let works: boolean;
  try {
    works = decodesFromCheckpoints(engine);
  } catch (cause) {
    throw new ZlibError('ENGINE_UNAVAILABLE', `zlib engine ${engine.name} broke down in its self-test`, { cause });
  }
  if (!works) throw new ZlibError('ENGINE_UNAVAILABLE', `zlib engine ${engine.name} failed its self-test`);
}

function decodesFromCheckpoints(engine: InflateEngine): boolean {
  const sample = makeSample();
  const member = gzipSync(sample, SMALL_BLOCKS);
  const stream = Buffer.concat([member, member]);
  const plain = Buffer.concat([sample, sample]);
  const output: Uint8Array[] = [];
  const checkpoints: Checkpoint[] = [];
  using inflate = new CheckpointedInflate({
    engine,
    spanSizeBytes: SAMPLE_SPAN_BYTES,
    onCheckpoint: (checkpoint) => void checkpoints.push(checkpoint),
    onOutput: (bytes, start, end) => void output.push(bytes.slice(start, end)),
  });
  for (let at = 0; at < stream.length; at += SAMPLE_PIECE_BYTES) {
    const piece = stream.subarray(at, at + SAMPLE_PIECE_BYTES);
    inflate.input.set(piece);
    inflate.push(piece.length);
  }
  inflate.finish();
  const enough = checkpoints.length > plain.length / SAMPLE_SPAN_BYTES / 2;
  return enough && Buffer.concat(output).equals(plain) && checkpoints.every((checkpoint) => isRight(checkpoint, stream, plain));
}

function isRight({ inputOffset, outputOffset, bits, window }: Checkpoint, stream: Buffer, plain: Buffer): boolean {
  const history = Buffer.alloc(window.length);
  const known = plain.subarray(Math.max(0, outputOffset - window.length), outputOffset);
  known.copy(history, window.length - known.length);
  if (!history.equals(window)) return false;
  const spare = bits === 0 ? 0 : 1;
  const input = Buffer.concat([Buffer.alloc(SPAN_HEADROOM_BYTES), stream.subarray(inputOffset - spare)]);
  const raw = input.subarray(alignBits(input, SPAN_HEADROOM_BYTES, bits));
  const output = inflateRawSync(raw, { dictionary: window, finishFlush: constants.Z_SYNC_FLUSH });
  return output.length > 0 && output.equals(plain.subarray(outputOffset, outputOffset + output.length));
}

/** Bytes that deflate into literals, short and long matches alike: runs of a counter whose step changes. */
function makeSample(): Buffer {
  const sample = Buffer.alloc(SAMPLE_BYTES);
  let state = 1;
  for (let i = 0; i < sample.length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    sample[i] = i % 100 < 50 ? state >>> 24 : i % 23;
  }
  return sample;
}
