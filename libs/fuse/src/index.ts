export { FlatFuse, type FlatFuseOptions } from './flat-fuse.ts';
export { FuseError, type FuseErrorCode } from './fuse-error.ts';
export { FuseState } from './fuse-state.ts';
export { KeeperLink, type KeeperLinkOptions } from './keeper-link.ts';
export type { FuseSession } from './launcher/session.ts';
export type { Miss } from './responder.ts';
export { DEVICE_BLOCK_BYTES, MAX_SLOT, type Slot } from './slot.ts';
