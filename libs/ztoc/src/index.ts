export type { ZtocAlgorithm } from './checkpoints.ts';
export { ENTRY_TYPE, type TocColumns } from './columns.ts';
export { Ztoc } from './ztoc.ts';
export { ZtocError, type ZtocErrorCode } from './ztoc-error.ts';
