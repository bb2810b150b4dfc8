export type { BuildOptions, LayerSource } from './build-thread.ts';
export type { ZtocAlgorithm } from './checkpoints.ts';
export { ENTRY_TYPE, type TocColumns } from './columns.ts';
export { ENTRY_TYPE_NAMES } from './entry-type.ts';
export type { BuiltZtoc } from './layer-scanner.ts';
export { type ParseOptions, Ztoc } from './ztoc.ts';
export { ZtocBuilder, type ZtocBuilderOptions } from './ztoc-builder.ts';
export { ZtocError, type ZtocErrorCode } from './ztoc-error.ts';
