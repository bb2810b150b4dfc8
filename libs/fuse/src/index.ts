export { FlatFuse, type FlatFuseOptions } from './flat-fuse.ts';
export { FuseError, type FuseErrorCode } from './fuse-error.ts';
export type { Miss } from './responder.ts';
export { DEVICE_BLOCK_BYTES, MAX_SLOT, type Slot } from './slot.ts';
