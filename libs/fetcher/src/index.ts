export { createFetcher, type CreateFetcherOptions, type FetcherParts } from './create-fetcher.ts';
export { parseDiffIds } from './diff-ids.ts';
export { FetcherError, type FetcherErrorCode } from './errors.ts';
export { fetchService, type ServableFetcher } from './fetch-service.ts';
export type { ArtifactRequest, ImageFetcher, IndexOrigin, PulledImage, ResolvedImage, ResolveImageRequest } from './image-fetcher.ts';
export { RegistryImageFetcher, type RegistryImageFetcherOptions } from './registry-image-fetcher.ts';
export { RemoteImageFetcher } from './remote-image-fetcher.ts';
export type { ImageDocuments } from './resolved-image.ts';
