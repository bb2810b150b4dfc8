import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';

export interface LayerFile {
  readonly name: string;
  readonly type?: 'file' | 'contiguous-file';
  readonly mtime?: Date;
  readonly data?: Uint8Array;
  readonly pax?: Record<string, string>;
}

/** A tar of these files. */
export async function makeTar(files: readonly LayerFile[]): Promise<Buffer> {
  const stream = pack();
  for (const { data, ...header } of files) stream.entry(header, Buffer.from(data ?? ''));
  stream.finalize();
  return await buffer(Readable.from(stream));
}

/** Files of text and noise in turn, some hundred KB together. */
export function someFiles(): LayerFile[] {
  return Array.from({ length: 40 }, (_, i) => {
    const data = Buffer.alloc(i * 700, `line ${i} of a text that repeats itself\n`);
    if (i % 3 === 0) for (let at = 0; at < data.length; at++) data[at] = Math.imul(at * 2_654_435_761, i + 1) >>> 24;
    return {
      name: `dir/file-${i}`,
      mtime: new Date(1_600_000_000_000 + i),
      data,
      ...(i % 4 === 0 ? { pax: { 'SCHILY.xattr.user.n': `${i}`, comment: 'c' } } : {}),
    };
  });
}
