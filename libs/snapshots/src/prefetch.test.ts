import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Descriptor } from '@soci/image';
import type { LayerNames } from '@soci/layer';
import { collectLogs } from '@soci/log';
import { Prefetch } from './prefetch.ts';

const IMAGE = { reference: 'r.example/a:1', repository: 'r.example/a', namespaces: ['team-a'] };
const NAMES: LayerNames = { slot: 1, layerKey: 'key', layerDigest: 'sha256:1', impliedKey: '0', path: '/none' };

function descriptor(size: number): Descriptor {
  return { mediaType: 'application/json', digest: 'sha256:2', size };
}

/** Starts one list and waits for its end. */
async function load(bytes: Uint8Array, artifact: Descriptor): Promise<{ ranges: unknown[]; asked: number; lines: readonly string[] }> {
  const ranges: unknown[] = [];
  let asked = 0;
  const { log, lines } = collectLogs();
  const source = { readArtifact: () => Promise.resolve((asked++, Uint8Array.from(bytes))) };
  const prefetch = new Prefetch({ source, served: { prefetch: (...range) => void ranges.push(range) }, log });
  prefetch.start(IMAGE, NAMES, artifact);
  await new Promise((resolve) => setImmediate(resolve));
  await prefetch[Symbol.asyncDispose]();
  return { ranges, asked, lines };
}

describe('Prefetch', () => {
  it('plans the ranges of a list, merged', async () => {
    const list = Buffer.from('{"version":"1.0","prefetch_spans":[{"start_span":4,"end_span":5},{"end_span":3}]}');
    assert.deepEqual((await load(list, descriptor(list.length))).ranges, [['key', 0, 5]]);
  });

  it('does not fetch what is too large for a list, and says so', async () => {
    const { asked, lines } = await load(new Uint8Array(0), descriptor(500 << 20));
    assert.equal(asked, 0);
    assert.match(lines.join(), /prefetch artifact cannot be used/);
  });

  it('ends with the layer, without a word', async () => {
    const { log, lines } = collectLogs();
    const aborted = Promise.withResolvers<undefined>();
    const readArtifact = (_: unknown, signal: AbortSignal): Promise<never> =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          aborted.resolve(undefined);
          reject(signal.reason as Error);
        });
      });
    await using prefetch = new Prefetch({ source: { readArtifact }, served: { prefetch: () => undefined }, log });
    prefetch.start(IMAGE, NAMES, descriptor(10));
    prefetch.stop('another');
    prefetch.stop(NAMES.layerKey);
    await aborted.promise;
    await new Promise((resolve) => setImmediate(resolve));
    assert.doesNotMatch(lines.join(), /cannot be used/);
  });
});
