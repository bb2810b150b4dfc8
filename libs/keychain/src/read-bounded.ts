import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

/**
 * The text of an open regular file, of which no copy stays behind.
 * @throws when it is longer than `maxBytes`, also when it grew since it was opened
 */
export async function readBounded(file: FileHandle, maxBytes: number): Promise<string> {
  const buffer = Buffer.alloc(maxBytes + 1);
  let length = 0;
  try {
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
      length += bytesRead;
      if (length > maxBytes) throw new Error(`longer than ${maxBytes} bytes`);
      if (bytesRead === 0) return buffer.toString('utf8', 0, length);
    }
  } finally {
    buffer.fill(0, 0, length);
  }
}

/** Changes whenever a file does, also when it is replaced by renaming. */
export function fileVersion({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(':');
}
