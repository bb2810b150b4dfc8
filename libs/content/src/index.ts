export type { BlobInfo, BlobReader, ContentStore, WriteOptions } from './store.ts';
