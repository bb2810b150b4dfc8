import type { Method } from '@soci/bus';

const bytes = { encode: (value: Uint8Array) => value, decode: (value: Uint8Array) => value };

/** Is answered with itself, in plain. */
export const plainQuestion: Method<Uint8Array, Uint8Array> = { service: 'cri-proxy', name: 'echo', request: bytes, answer: bytes };
