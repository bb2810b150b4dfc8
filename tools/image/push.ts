import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseIndex, parseManifest, type Descriptor, type ImageReference } from '@soci/image';
import { basic, StaticSource } from '@soci/keychain';
import { createLogger } from '@soci/log';
import { RegistryClient } from '@soci/registry';
import type { Login } from '@soci/testing';

export interface PushProgress {
  detail(text: string): void;
}

const PUSH_TIMEOUT_MS = 300_000;

/** Pushes the one entry of an OCI layout, and all that it refers to, under a tag. @returns bytes of all blobs and manifests */
export async function pushLayout(layout: string, reference: ImageReference, login: Login, progress?: PushProgress): Promise<number> {
  const credentials = new StaticSource({
    name: 'the given login',
    credential: basic(login.username, login.password),
    host: reference.host,
  });
  await using client = new RegistryClient({ credentials, log: createLogger({ level: 'error' }) });
  const signal = AbortSignal.timeout(PUSH_TIMEOUT_MS);
  const path = (digest: string): string => join(layout, 'blobs', 'sha256', digest.slice('sha256:'.length));
  let total = 0;

  const pushBlob = async (descriptor: Descriptor): Promise<void> => {
    progress?.detail(`${descriptor.digest.slice(0, 19)} ${Math.round(descriptor.size / 1e6)} MB`);
    total += (await stat(path(descriptor.digest))).size;
    await client.pushBlob(reference, descriptor, () => createReadStream(path(descriptor.digest)), signal);
  };
  const pushManifest = async (descriptor: Descriptor, tag?: string): Promise<void> => {
    const bytes = await readFile(path(descriptor.digest));
    total += bytes.length;
    if (descriptor.mediaType.includes('index') || descriptor.mediaType.includes('list')) {
      for (const child of parseIndex(bytes).manifests) await pushManifest(child);
    } else {
      const { config, layers } = parseManifest(bytes);
      for (const blob of [config, ...layers]) await pushBlob(blob);
    }
    await client.pushManifest(reference, bytes, descriptor.mediaType, tag, signal);
  };

  const [top] = parseIndex(await readFile(join(layout, 'index.json'))).manifests;
  if (top === undefined) throw new Error(`OCI layout ${layout}: no entry to push`);
  await pushManifest(top, reference.tag);
  return total;
}
