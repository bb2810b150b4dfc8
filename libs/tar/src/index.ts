export type { PaxRecords } from './pax-records.ts';
export { TYPE_FLAG, type TarEntry } from './tar-entry.ts';
export { TarError, type TarErrorCode } from './tar-error.ts';
export { TarParser } from './tar-parser.ts';
export type { TarText } from './text.ts';
