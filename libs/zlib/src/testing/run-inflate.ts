import { type Checkpoint, CheckpointedInflate } from '../checkpointed-inflate.ts';
import { type InflateEngine, INPUT_BYTES } from '../inflate-engine.ts';

/** Pushes a stream through in pieces, and gives all that came out. */
export function runInflate(
  engine: InflateEngine,
  stream: Uint8Array,
  spanSizeBytes: number,
  pieceBytes = INPUT_BYTES,
): { readonly output: Buffer; readonly checkpoints: Checkpoint[] } {
  const output: Uint8Array[] = [];
  const checkpoints: Checkpoint[] = [];
  using inflate = new CheckpointedInflate({
    engine,
    spanSizeBytes,
    onCheckpoint: (checkpoint) => void checkpoints.push(checkpoint),
    onOutput: (bytes, start, end) => void output.push(bytes.slice(start, end)),
  });
  for (let at = 0; at < stream.length; at += pieceBytes) {
    const piece = stream.subarray(at, at + pieceBytes);
    inflate.input.set(piece);
    inflate.push(piece.length);
  }
  inflate.finish();
  return { output: Buffer.concat(output), checkpoints };
}
