import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import type { BuildOptions } from './build-thread.ts';
import { makeTar, someFiles } from './testing/make-layer.ts';
import { scanLayer } from './testing/scan.ts';
import { ZtocBuilder } from './ztoc-builder.ts';

const never = new AbortController().signal;
const options: BuildOptions = { algorithm: 'gzip', spanSizeBytes: 65_536, buildTool: 'test' };

let folder: string;
let layer: Buffer;
let path: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ztoc-builder-'));
  layer = gzipSync(Buffer.concat([await makeTar(someFiles()), Buffer.alloc(6 << 20)]), { level: 0 });
  path = join(folder, 'layer');
  await writeFile(path, layer);
});
after(() => rm(folder, { recursive: true, force: true }));

async function* inPieces(bytes: Buffer, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    await sleep(0);
    yield bytes.subarray(at, at + pieceBytes);
  }
}

/** A stream that gives these pieces, then waits until it is left. */
function endless(pieces: readonly Uint8Array[]): { readonly stream: AsyncIterable<Uint8Array>; readonly left: Promise<undefined> } {
  const left = Promise.withResolvers<undefined>();
  const waiting = new Promise<never>(() => undefined);
  let next = 0;
  return {
    left: left.promise,
    stream: {
      [Symbol.asyncIterator]: () => ({
        next: () => {
          const value = pieces[next++];
          return value ? Promise.resolve({ value, done: false }) : waiting;
        },
        return: () => {
          left.resolve(undefined);
          return Promise.resolve({ value: undefined, done: true });
        },
      }),
    },
  };
}

describe('ZtocBuilder', () => {
  it('makes one zTOC from a file and from streams of any pieces, and tells how far it is', async () => {
    await using builder = new ZtocBuilder({ threads: 2 });
    const want = scanLayer(layer, { spanSize: 65_536n, buildTool: 'test' });
    const progress: number[] = [];
    const built = await builder.build({ path }, options, never, (bytesRead) => void progress.push(bytesRead));
    assert.equal(built.digest, want.digest);
    assert.deepEqual(Buffer.from(built.bytes), Buffer.from(want.bytes));
    assert.ok(progress.length > 1);
    assert.equal(progress.at(-1), layer.length);
    for (const pieceBytes of [20_000, 262_144, 1_000_003]) {
      assert.equal((await builder.build({ stream: inPieces(layer, pieceBytes) }, options, never)).digest, want.digest);
    }
  });

  it('lets layers wait for a thread, and uses it again after failures', async () => {
    await using builder = new ZtocBuilder({ threads: 1 });
    const missing = join(folder, 'missing');
    const results = await Promise.allSettled(
      [path, missing, path, missing, path].map((file) => builder.build({ path: file }, options, never)),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'],
    );
    for (const result of results) if (result.status === 'rejected') assert.equal((result.reason as { code: string }).code, 'READ_FAILED');
  });

  it('reports a layer that is broken while its source still waits, and leaves the source', async () => {
    await using builder = new ZtocBuilder({ threads: 1 });
    const { stream, left } = endless(Array.from({ length: 20 }, () => Buffer.alloc(100_000, 'x')));
    await assert.rejects(builder.build({ stream }, options, never), { name: 'ZtocError', code: 'LAYER_CORRUPT' });
    await left;
    assert.equal((await builder.build({ path }, options, never)).compressedSizeBytes, layer.length);
  });

  it('reports a source that fails', async () => {
    await using builder = new ZtocBuilder({ threads: 1 });
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield layer.subarray(0, 1000);
      await sleep(1);
      throw new Error('connection reset');
    }
    await assert.rejects(builder.build({ stream: failing() }, options, never), { code: 'READ_FAILED', message: /connection reset/ });
    assert.equal((await builder.build({ path }, options, never)).compressedSizeBytes, layer.length);
  });

  it('takes layers after any number of sources that failed half-way', { timeout: 20_000 }, async () => {
    await using builder = new ZtocBuilder({ threads: 1 });
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(layer.subarray(0, 1000));
      throw new Error('gone');
    }
    for (let i = 0; i < 10; i++) await assert.rejects(builder.build({ stream: failing() }, options, never), { code: 'READ_FAILED' });
    assert.equal((await builder.build({ stream: inPieces(layer, 1 << 20) }, options, never)).compressedSizeBytes, layer.length);
  });

  it('stops at once when aborted: reading, waiting for a source, waiting for a thread', async () => {
    await using builder = new ZtocBuilder({ threads: 1 });
    const { stream, left } = endless([layer.subarray(0, 100_000)]);
    const controller = new AbortController();
    const reason = new Error('enough');
    const running = builder.build({ stream }, options, controller.signal);
    const waiting = builder.build({ path }, options, controller.signal);
    const later = builder.build({ path }, options, never);
    const rejections = Promise.all([running, waiting].map((build) => assert.rejects(build, reason)));
    await sleep(50);
    controller.abort(reason);
    await rejections;
    await left;
    assert.equal((await later).compressedSizeBytes, layer.length);
    await assert.rejects(builder.build({ path }, options, AbortSignal.abort(reason)), reason);
  });

  it('rejects what runs and waits when it is disposed', async () => {
    const builder = new ZtocBuilder({ threads: 1 });
    const { stream } = endless([layer.subarray(0, 100_000)]);
    const builds = [builder.build({ stream }, options, never), builder.build({ path }, options, never)];
    const rejections = Promise.all(builds.map((build) => assert.rejects(build, { code: 'BUILDER_CLOSED' })));
    await sleep(50);
    await builder[Symbol.asyncDispose]();
    await rejections;
    await assert.rejects(builder.build({ path }, options, never), { code: 'BUILDER_CLOSED' });
  });

  it('refuses span sizes that are none', async () => {
    await using builder = new ZtocBuilder({ threads: 1 });
    for (const spanSizeBytes of [0, -1, 2n ** 63n]) {
      await assert.rejects(builder.build({ path }, { ...options, spanSizeBytes }, never), { code: 'UNSUPPORTED' });
    }
    assert.equal((await builder.build({ path }, { ...options, spanSizeBytes: 2n ** 63n - 1n }, never)).spanCount, 1);
  });
});
