import { createHash, type Hash } from 'node:crypto';

/**
 * SHA-256 of each span of a stream that passes by in pieces. A span that starts inside a byte begins with that byte, which ends the span before it too.
 */
export class SpanDigests {
  /** `sha256:<64 hex digits>` of each span that has ended. */
  readonly finished: string[] = [];
  #hash: Hash | undefined;
  #piece: Uint8Array = new Uint8Array(0);
  #pieceStart = 0;
  #pieceBytes = 0;
  #hashedTo = 0;
  #byteBefore = new Uint8Array(1);

  /** The next `length` bytes of the stream are at the start of `bytes`; they must stay there until `endPiece`. */
  startPiece(bytes: Uint8Array, length: number): void {
    this.#piece = bytes;
    this.#pieceBytes = length;
  }

  /**
   * A span starts at this offset of the stream, and the one before it ends there.
   *
   * @param offset in the piece, or at its end
   * @param bits when not 0, the span begins with the byte before `offset`
   */
  cut(offset: number, bits: number): void {
    this.#hashTo(offset);
    this.#end();
    this.#hash = createHash('sha256');
    if (bits === 0) return;
    const before = offset - 1 - this.#pieceStart;
    this.#hash.update(before >= 0 ? this.#piece.subarray(before, before + 1) : this.#byteBefore);
  }

  endPiece(): void {
    this.#hashTo(this.#pieceStart + this.#pieceBytes);
    this.#pieceStart += this.#pieceBytes;
    this.#byteBefore = this.#piece.slice(this.#pieceBytes - 1, this.#pieceBytes);
  }

  /** The stream is at its end, and so is the last span. */
  finish(): readonly string[] {
    this.#end();
    return this.finished;
  }

  #hashTo(offset: number): void {
    if (offset > this.#hashedTo) this.#hash?.update(this.#piece.subarray(this.#hashedTo - this.#pieceStart, offset - this.#pieceStart));
    this.#hashedTo = offset;
  }

  #end(): void {
    if (this.#hash) this.finished.push(`sha256:${this.#hash.digest('hex')}`);
    this.#hash = undefined;
  }
}
