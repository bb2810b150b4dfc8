import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Descriptor } from '@soci/image';
import { EarlyArtifacts } from './early-artifacts.ts';
import type { ImageSource } from './image-planner.ts';

const signal = new AbortController().signal;
const IMAGE = { reference: 'r.example/a:1', namespaces: ['team-a'] };
const MIB = 1 << 20;

function descriptor(n: number, size: number): Descriptor {
  return { mediaType: 'application/octet-stream', digest: `sha256:${n}`, size };
}

function counted(): { source: ImageSource; asked: string[] } {
  const asked: string[] = [];
  const source: ImageSource = {
    resolveImage: () => Promise.reject(new Error('not asked for')),
    readArtifact: ({ descriptor: { digest } }) => {
      asked.push(digest);
      return Promise.resolve(new Uint8Array(1));
    },
    async *read({ digest }) {
      asked.push(digest);
      yield await Promise.resolve(new Uint8Array(1));
    },
  };
  return { source, asked };
}

describe('EarlyArtifacts', () => {
  it('hands out what was fetched early, once', async () => {
    const { source, asked } = counted();
    const early = new EarlyArtifacts(IMAGE, source, signal);
    early.startZtoc(descriptor(1, 100));
    early.startZtoc(descriptor(1, 100));
    assert.deepEqual(asked, ['sha256:1']);
    await early.ztoc(descriptor(1, 100), signal);
    assert.equal(asked.length, 1);
    await early.ztoc(descriptor(1, 100), signal);
    assert.equal(asked.length, 2);
  });

  it('keeps no more in memory than there is room for; the rest is fetched in its turn', async () => {
    const { source, asked } = counted();
    const early = new EarlyArtifacts(IMAGE, source, signal);
    for (let n = 0; n < 100; n++) early.startZtoc(descriptor(n, 60 * MIB));
    assert.deepEqual(asked, ['sha256:0', 'sha256:1', 'sha256:2', 'sha256:3']);
    early.startZtoc(descriptor(200, 500 * MIB));
    await early.ztoc(descriptor(200, 500 * MIB), signal);
    assert.equal(asked.length, 5);
  });
});
