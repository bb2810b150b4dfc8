/**
 * - `HEADER_INVALID`: a block that should be a header is none, or a field or PAX record in it cannot be read.
 * - `TRUNCATED`: the archive ends inside a header or inside a file.
 * - `EXTENSION_TOO_LARGE`: a PAX header or GNU long name of more than 1 MiB.
 * - `SPARSE_UNSUPPORTED`: a sparse file, whose bytes are not in the archive one after the other.
 */
export type TarErrorCode = 'HEADER_INVALID' | 'TRUNCATED' | 'EXTENSION_TOO_LARGE' | 'SPARSE_UNSUPPORTED';

/** Why an archive cannot be read. `code` is stable; `message` is for people and names the offset. */
export class TarError extends Error {
  override readonly name = 'TarError';
  readonly code: TarErrorCode;

  constructor(code: TarErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
