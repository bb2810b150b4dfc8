import { BlobCheck } from './blob-check.ts';
import { ContentError } from './errors.ts';
import type { BlobReader } from './store.ts';

/** Reads an open blob into memory and checks it. @throws {ContentError} `TOO_LARGE`, `DIGEST_MISMATCH`, `SIZE_MISMATCH` */
export async function readWhole(digest: string, blob: BlobReader, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  const { sizeBytes } = blob;
  if (sizeBytes > maxBytes) throw new ContentError('TOO_LARGE', `${digest}: ${sizeBytes} bytes, more than the ${maxBytes} allowed here`);
  const check = new BlobCheck(digest, sizeBytes);
  const bytes = new Uint8Array(sizeBytes);
  let offset = 0;
  for await (const chunk of blob.stream(0, signal)) {
    check.update(chunk);
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  check.finish(sizeBytes);
  return bytes;
}
