import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { LayerEngine, type LayerEngineOptions } from '../engine.ts';
import type { LayerData } from '../layer-data.ts';
import type { LayerSource } from '../layer-source.ts';
import { type FakeLayer, fakeLayer, openStore, temporaryFolder } from './fake-layer.ts';
import { FakeReplies } from './fake-replies.ts';
import { FakeSource } from './fake-source.ts';

export const SPAN = 50_000;
export const SOURCE: LayerSource = { reference: 'r.example/a:1', repository: 'r.example/a', namespaces: [] };

/** An engine that serves one layer under slot 7, from a source with faults. */
export interface EngineRig {
  readonly engine: LayerEngine;
  readonly layer: LayerData;
  readonly fake: FakeLayer;
  readonly source: FakeSource;
  readonly lines: readonly string[];
  readonly sources: LayerSource[];
  read(offsetBytes: number, sizeBytes: number): Promise<Uint8Array | 'EIO'>;
  /** Starts a read; its number. */
  post(offsetBytes: number, sizeBytes: number): number;
  readonly replies: FakeReplies;
  readonly clock: { ms: number };
}

export async function engineRig(t: TestContext, spanCount = 12, options: Partial<LayerEngineOptions> = {}): Promise<EngineRig> {
  const store = await openStore(t, await temporaryFolder(t));
  const fake = await fakeLayer(store, spanCount, SPAN);
  const layer = await store.openLayer(fake.key);
  const source = new FakeSource(new Map([[fake.digest, fake.bytes]]));
  const replies = new FakeReplies();
  const { log, lines } = collectLogs();
  const clock = { ms: 0 };
  const engine = new LayerEngine({ source, replies, log, now: () => performance.now() + clock.ms, ...options });
  t.after(() => engine[Symbol.asyncDispose]());
  const sources = [SOURCE];
  engine.attach(7, layer, () => sources);
  let unique = 0;
  const post = (offsetBytes: number, sizeBytes: number): number => {
    engine.onMiss({ slot: 7, uniqueLow: ++unique, uniqueHigh: 1, offsetBytes, sizeBytes });
    return unique;
  };
  return {
    engine,
    layer,
    fake,
    source,
    lines,
    sources,
    replies,
    clock,
    post,
    read: async (offsetBytes, sizeBytes) => {
      const reply = await replies.of(post(offsetBytes, sizeBytes));
      return 'errno' in reply ? 'EIO' : reply.data;
    },
  };
}

/** That a read got the layer's bytes. */
export function same(rigged: EngineRig, got: Uint8Array | 'EIO', offsetBytes: number, sizeBytes: number): void {
  assert.notEqual(got, 'EIO');
  assert.deepEqual(Buffer.from(got as Uint8Array), Buffer.from(rigged.fake.bytes.subarray(offsetBytes, offsetBytes + sizeBytes)));
}
