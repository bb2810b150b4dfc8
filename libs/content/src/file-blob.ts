import { open } from 'node:fs/promises';
import { ContentError } from './errors.ts';
import type { BlobReader } from './store.ts';

const READ_BYTES = 1 << 20;

/** A blob that is a local file. The file is opened for each stream: a reader that is kept costs no descriptor. */
export function fileBlob(path: string, sizeBytes: number): BlobReader {
  return {
    path,
    sizeBytes,
    stream: (offsetBytes, signal) => readFrom(path, offsetBytes, signal),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function* readFrom(path: string, offsetBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    await using file = await open(path, 'r');
    for (let position = offsetBytes; ; ) {
      signal.throwIfAborted();
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw toContentError(path, cause);
  }
}

/** @param what the file or action, for the message */
export function toContentError(what: string, cause: unknown): ContentError {
  if (cause instanceof ContentError) return cause;
  const isMissing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
  return new ContentError(isMissing ? 'NOT_FOUND' : 'STORE_BROKEN', what, { cause });
}
