import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Descriptor } from '@soci/image';

export interface LayerSource {
  readonly name: string;
  /** Folder that the names in the layer are relative to. */
  readonly root: string;
  /** Arguments for GNU tar: members and exclusions. */
  readonly members: readonly string[];
}

export interface WrittenLayer {
  readonly descriptor: Descriptor;
  readonly diffId: string;
}

const GZIP_LEVEL = 6;

/** Writes a folder's content as a gzip layer into the blobs of an OCI layout. @param onBytes told the uncompressed bytes as they go by */
export async function writeLayer(
  { name, root, members }: LayerSource,
  blobs: string,
  onBytes: (bytes: number) => void,
): Promise<WrittenLayer> {
  const tar = spawn('tar', ['--sort=name', '--mtime=@1700000000', '--numeric-owner', '--xattrs', '-C', root, '-cf', '-', ...members], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = new Promise<number | null>((resolve, reject) => tar.on('error', reject).on('close', resolve));
  const diff = createHash('sha256');
  const digest = createHash('sha256');
  const partial = join(blobs, `.${name}.partial`);
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      diff.update(chunk);
      onBytes(chunk.length);
      done(null, chunk);
    },
  });
  const hash = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      digest.update(chunk);
      done(null, chunk);
    },
  });
  await pipeline(tar.stdout, count, createGzip({ level: GZIP_LEVEL }), hash, createWriteStream(partial));
  const code = await exit;
  if (code !== 0) throw new Error(`tar of layer ${name} failed with ${code ?? 'a signal'}`);
  const hex = digest.digest('hex');
  await rename(partial, join(blobs, hex));
  const { size } = await stat(join(blobs, hex));
  return {
    descriptor: { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: `sha256:${hex}`, size },
    diffId: `sha256:${diff.digest('hex')}`,
  };
}
