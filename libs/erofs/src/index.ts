export { ErofsError, type ErofsErrorCode } from './erofs-error.ts';
export { IMAGE_VERSION, type ImageOptions, writeImage } from './write-image.ts';
