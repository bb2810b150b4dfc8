/**
 * - `DATA_CORRUPT`: the compressed bytes are no valid deflate or gzip stream, or a checksum in them is wrong.
 * - `DATA_TRUNCATED`: they end before what they promise, or before as many bytes came out as were asked for.
 * - `TRAILING_DATA`: something other than zero bytes follows the last gzip member.
 * - `INVALID_ARGUMENT`: a number that no honest checkpoint holds.
 * - `ENGINE_UNAVAILABLE`: the wanted inflate engine cannot be used in this process.
 */
export type ZlibErrorCode = 'DATA_CORRUPT' | 'DATA_TRUNCATED' | 'TRAILING_DATA' | 'INVALID_ARGUMENT' | 'ENGINE_UNAVAILABLE';

/** What went wrong while inflating. `code` is stable; `message` is for people. */
export class ZlibError extends Error {
  override readonly name = 'ZlibError';
  readonly code: ZlibErrorCode;

  constructor(code: ZlibErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
