export type ErofsErrorCode =
  | 'TOO_LARGE' // a file over 1 TiB, a tar over 2 TiB, more xattrs than an inode holds, an image over 2 GiB
  | 'BAD_OFFSET' // file data that does not begin on a 512-byte block, or does not lie inside the tar
  | 'BAD_XATTR'; // an xattr in a namespace the format does not have

/** A tree that the format cannot express. The layer has to be served in another way. */
export class ErofsError extends Error {
  override readonly name = 'ErofsError';
  readonly code: ErofsErrorCode;

  constructor(code: ErofsErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
