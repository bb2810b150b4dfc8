import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { layerKey } from '../layer-key.ts';
import { LayerStore } from '../layer-store.ts';
import { newSpanIndex, sealSpanIndex } from '../span-index.ts';

export interface FakeLayer {
  readonly digest: string;
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly spanBytes: number;
}

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'soci-layer-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Bytes that no two spans share. */
export function pattern(length: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = seed;
  for (let i = 0; i < words.length; i++) {
    state = Math.imul(state, 1664525) + 1013904223;
    words[i] = state >>> 0;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** A layer of plain spans without tar headers in a store: what the engine does not care about is left out. */
export async function fakeLayer(store: LayerStore, spanCount: number, spanBytes: number, seed = 1): Promise<FakeLayer> {
  const bytes = pattern(spanCount * spanBytes - 100, seed);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const index = newSpanIndex('uncompressed', spanCount, 0, bytes.length, bytes.length);
  index.headerOffsetBytes.fill(-1);
  index.windowOffsetBytes.fill(-1);
  for (let span = 0; span < spanCount; span++) {
    const start = span * spanBytes;
    const end = Math.min(start + spanBytes, bytes.length);
    index.startBytes[span] = start;
    index.blobStartBytes[span] = start;
    index.blobEndBytes[span] = end;
    index.digests.set(createHash('sha256').update(bytes.subarray(start, end)).digest(), span * 32);
  }
  index.startBytes[spanCount] = bytes.length;
  sealSpanIndex(index);
  const key = layerKey(digest, digest);
  const paths = store.paths(key);
  await mkdir(paths.folder, { recursive: true });
  await writeFile(paths.ztoc, '');
  await writeFile(paths.index, new Uint8Array(index.shared));
  return { digest, key, bytes, spanBytes };
}

export async function openStore(t: TestContext, root: string): Promise<LayerStore> {
  const store = await LayerStore.open({ root, log: collectLogs().log, flushMs: 20 });
  t.after(() => store[Symbol.asyncDispose]());
  return store;
}
