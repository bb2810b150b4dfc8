import { describe, it } from 'node:test';
import { killInTurn } from './killer.ts';
import { makeReadImage } from './read-image.ts';
import { scratchFolder } from './stack.ts';
import { pullForReading, readThrough, startNode, type Shape } from './survivors.ts';

const SECONDS = 16;
const MAX_STALL_MS = 2_000;
const SHAPES: readonly Shape[] = [
  { owed: 'resend', credentials: 'docker' },
  { owed: 'journal', credentials: 'cri' },
];

describe('a snapshotter whose processes are killed while containers read', () => {
  for (const shape of SHAPES) {
    it(`goes on by ${shape.owed}, with credentials of ${shape.credentials}`, { timeout: 180_000 }, async (t) => {
      await using resources = new AsyncDisposableStack();
      const image = await makeReadImage(await scratchFolder(resources), { sizeBytes: 40 << 20, files: 2_000 });
      await using stack = await startNode(shape);
      const reference = await pullForReading(stack, image, shape);
      const victims = ['service', 'keeper', 'service, then keeper', 'containerd', 'keeper, then service'] as const;
      await readThrough(t, stack, { image, reference, passSeconds: SECONDS, maxStallMs: MAX_STALL_MS }, () =>
        killInTurn(stack, { victims, seconds: SECONDS, random: Math.random }),
      );
    });
  }
});
