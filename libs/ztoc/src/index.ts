export { ENTRY_TYPE, type TocColumns } from './columns.ts';
