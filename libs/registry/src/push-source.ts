import { RegistryError } from './errors.ts';
import type { PushBlobRequest } from './push-blob.ts';

/** What broke was the source of the bytes, not the connection they went to: `cause` is its error. */
export class SourceFailure extends Error {
  override readonly name = 'SourceFailure';
}

const SLICE_BYTES = 64 * 1024;

/**
 * The bytes of a blob, opened anew, with progress told and the size checked: a body of another length than its header would only look like a broken connection.
 *
 * @throws {SourceFailure}
 */
export async function* counted({ source, descriptor, onProgress }: PushBlobRequest): AsyncGenerator<Uint8Array, void, undefined> {
  let sent = 0;
  const wrong = (is: string): SourceFailure =>
    new SourceFailure('size', {
      cause: new RegistryError('SIZE_MISMATCH', `blob ${descriptor.digest}: its source has ${is} than ${descriptor.size} bytes`),
    });
  onProgress?.(0);
  try {
    for await (const chunk of typeof source === 'function' ? source() : slices(source)) {
      if (sent + chunk.length > descriptor.size) throw wrong('more');
      yield chunk;
      sent += chunk.length;
      onProgress?.(sent);
    }
  } catch (cause) {
    throw cause instanceof SourceFailure ? cause : new SourceFailure('source', { cause });
  }
  if (sent < descriptor.size) throw wrong('less');
}

/** Cuts a stream into pieces of one size; the last may be smaller. One piece is held in memory. */
export async function* pieces(source: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  let buffer = Buffer.alloc(size);
  let filled = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + size - filled);
      buffer.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled < size) continue;
      yield buffer;
      buffer = Buffer.alloc(size); // the one before may still be on its way
      filled = 0;
    }
  }
  if (filled > 0) yield buffer.subarray(0, filled);
}

async function* slices(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += SLICE_BYTES) yield await Promise.resolve(bytes.subarray(at, at + SLICE_BYTES));
}
