export { SPAN_HEADROOM_BYTES } from './align-bits.ts';
export { inflateSpan, type InflateSpanOptions } from './inflate-span.ts';
export { ZlibError, type ZlibErrorCode } from './zlib-error.ts';
