export type { Descriptor, Platform } from './descriptor.ts';
