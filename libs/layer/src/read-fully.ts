import { readSync } from 'node:fs';
import { LayerError } from './errors.ts';

/** Fills `into` from a position of a file; blocks, so in worker threads only. @throws {LayerError} `STORE_BROKEN` when the file ends before */
export function readFully<T extends Uint8Array>(fd: number, into: T, at: number): T {
  for (let done = 0; done < into.length; ) {
    const read = readSync(fd, into, done, into.length - done, at + done);
    if (read === 0) throw new LayerError('STORE_BROKEN', `file ends at ${at + done}`);
    done += read;
  }
  return into;
}
