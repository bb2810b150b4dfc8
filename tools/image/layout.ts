import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Descriptor } from '@soci/image';
import type { WrittenLayer } from './layers.ts';

export interface RunConfig {
  readonly Env?: readonly string[];
  readonly Cmd?: readonly string[];
}

/** The tag of the one entry of a layout made here. */
export const LAYOUT_TAG = 'latest';

/** Folder of the blobs of an OCI layout, made when it is not there. */
export async function blobFolder(layout: string): Promise<string> {
  const blobs = join(layout, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  return blobs;
}

/** Completes an OCI layout whose layers are in its blob folder: configuration, manifest, index. @returns the digest of the manifest */
export async function writeLayout(layout: string, layers: readonly WrittenLayer[], config: RunConfig): Promise<string> {
  const blobs = await blobFolder(layout);
  const platform = { architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux' };
  const put = async (mediaType: string, value: unknown): Promise<Descriptor> => {
    const bytes = Buffer.from(JSON.stringify(value));
    const hex = createHash('sha256').update(bytes).digest('hex');
    await writeFile(join(blobs, hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };
  const configDescriptor = await put('application/vnd.oci.image.config.v1+json', {
    ...platform,
    config,
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = await put(mediaType, {
    schemaVersion: 2,
    mediaType,
    config: configDescriptor,
    layers: layers.map(({ descriptor }) => descriptor),
  });
  const entry = { ...manifest, platform, annotations: { 'org.opencontainers.image.ref.name': LAYOUT_TAG } };
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(
    join(layout, 'index.json'),
    JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [entry] }),
  );
  return manifest.digest;
}
