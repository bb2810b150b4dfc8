export { alignBits, SPAN_HEADROOM_BYTES } from './align-bits.ts';
export { type Checkpoint, CheckpointedInflate, type CheckpointedInflateOptions } from './checkpointed-inflate.ts';
export { INPUT_BYTES, type InflateEngine } from './inflate-engine.ts';
export { inflateSpan, type InflateSpanOptions } from './inflate-span.ts';
export { openNativeEngine } from './native-engine.ts';
export { PAKO_ENGINE } from './pako-engine.ts';
export { selectEngine } from './select-engine.ts';
export { ZlibError, type ZlibErrorCode } from './zlib-error.ts';
