import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { type BlobInfo, type BlobReader, ContentError, type ContentStore, type WriteOptions } from '@soci/content';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import {
  type Descriptor,
  encodeIndex,
  encodeManifest,
  type Index,
  MEDIA_TYPE,
  parseIndex,
  parseManifest,
  type Platform,
  sha256Digest,
} from '@soci/image';
import { collectLogs } from '@soci/log';
import { ANNOTATION, ATTESTATION_REFERENCE } from './annotations.ts';
import { ArtifactsDb } from './artifacts-db.ts';
import { convertImage, type ConvertImageOptions, type ConvertedImage } from './convert.ts';
import { createIndexes } from './create.ts';

const signal = new AbortController().signal;
const amd64: Platform = { os: 'linux', architecture: 'amd64' };
const arm64: Platform = { os: 'linux', architecture: 'arm64', variant: 'v8' };

/** Blobs in memory, with their labels. */
class MemoryStore implements ContentStore {
  readonly kind = 'containerd';
  readonly #blobs = new Map<string, { bytes: Uint8Array; labels: Record<string, string> }>();

  add(mediaType: string, content: string | Uint8Array): Descriptor {
    const bytes = Buffer.from(content);
    const digest = sha256Digest(bytes);
    this.#blobs.set(digest, { bytes, labels: {} });
    return { mediaType, digest, size: bytes.length };
  }

  labelsOf(digest: string): Record<string, string> {
    return this.#need(digest).labels;
  }

  stat(digest: string): Promise<BlobInfo | undefined> {
    const blob = this.#blobs.get(digest);
    return Promise.resolve(blob && { digest, sizeBytes: blob.bytes.length, labels: blob.labels });
  }

  async open(digest: string): Promise<BlobReader> {
    const bytes = await this.read(digest);
    return { sizeBytes: bytes.length, stream: () => Readable.from([bytes]), [Symbol.asyncDispose]: () => Promise.resolve() };
  }

  read(digest: string): Promise<Uint8Array> {
    return new Promise((resolve) => {
      resolve(this.#need(digest).bytes);
    });
  }

  write(descriptor: Descriptor, content: Uint8Array | AsyncIterable<Uint8Array>, { labels = {} }: WriteOptions): Promise<void> {
    assert.ok(content instanceof Uint8Array);
    assert.equal(sha256Digest(content), descriptor.digest);
    assert.equal(content.length, descriptor.size);
    const known = this.#blobs.get(descriptor.digest);
    this.#blobs.set(descriptor.digest, { bytes: content, labels: { ...known?.labels, ...labels } });
    return Promise.resolve();
  }

  label(digest: string, labels: Readonly<Record<string, string>>): Promise<void> {
    return Promise.try(() => void Object.assign(this.#need(digest).labels, labels));
  }

  delete(digest: string): Promise<void> {
    this.#blobs.delete(digest);
    return Promise.resolve();
  }

  #need(digest: string): { bytes: Uint8Array; labels: Record<string, string> } {
    const blob = this.#blobs.get(digest);
    if (blob === undefined) throw new ContentError('NOT_FOUND', digest);
    return blob;
  }
}

/** A manifest of Docker's types, so that a conversion changes its bytes, with one layer of the given text. */
function addImage(store: MemoryStore, platform: Platform, layer: string, layerType: string = MEDIA_TYPE.dockerLayerGzip): Descriptor {
  const config = store.add(MEDIA_TYPE.dockerConfig, JSON.stringify({ ...platform, rootfs: {} }));
  const layers = [store.add(layerType, layer)];
  const bytes = encodeManifest({ schemaVersion: 2, mediaType: MEDIA_TYPE.dockerManifest, config, layers });
  return { ...store.add(MEDIA_TYPE.dockerManifest, bytes), platform };
}

function addAttestation(store: MemoryStore, of: Descriptor): Descriptor {
  const config = store.add(MEDIA_TYPE.ociConfig, '{"os":"unknown"}');
  const bytes = `${Buffer.from(encodeManifest({ schemaVersion: 2, config, layers: [] })).toString()}\n`;
  return {
    ...store.add(MEDIA_TYPE.ociManifest, bytes),
    platform: { os: 'unknown', architecture: 'unknown' },
    annotations: { [ATTESTATION_REFERENCE]: of.digest, 'vnd.docker.reference.type': 'attestation-manifest' },
  };
}

function addIndex(store: MemoryStore, manifests: readonly Descriptor[]): Descriptor {
  return store.add(MEDIA_TYPE.dockerManifestList, encodeIndex({ schemaVersion: 2, mediaType: MEDIA_TYPE.dockerManifestList, manifests }));
}

function options(store: MemoryStore, target: Descriptor, more: Partial<ConvertImageOptions> = {}): ConvertImageOptions {
  return {
    target,
    content: store,
    blobs: store,
    minLayerSizeBytes: 0,
    log: collectLogs().log,
    builder: {
      build: (source, { spanSizeBytes, algorithm }) => {
        assert.ok('stream' in source);
        return text(source.stream).then((layer) => {
          if (layer === 'broken') throw new Error('no gzip');
          const bytes = Buffer.from(`ztoc of ${layer} ${spanSizeBytes.toString()} ${algorithm}`);
          return { bytes, digest: sha256Digest(bytes), hasXattrs: false, hasOpaque: false };
        });
      },
    },
    ...more,
  };
}

function openDatabase(t: TestContext): ArtifactsDb {
  const folder = mkdtempSync(join(tmpdir(), 'soci-convert-'));
  t.after(() => {
    rmSync(folder, { recursive: true });
  });
  return ArtifactsDb.open(join(folder, 'artifacts.sqlite'));
}

async function indexOf(store: MemoryStore, { target }: ConvertedImage): Promise<Index> {
  return parseIndex(await store.read(target.digest));
}

describe('convertImage', () => {
  it('rewrites images as OCI ones, and lets attestations follow them untouched', async () => {
    const store = new MemoryStore();
    const images = [addImage(store, amd64, 'one'), addImage(store, arm64, 'two')];
    const attestations = images.map((image) => addAttestation(store, image));
    const target = addIndex(store, [...images, ...attestations]);
    const index = await indexOf(store, await convertImage(options(store, target, { platforms: [amd64] }), signal));
    assert.equal(index.mediaType, MEDIA_TYPE.ociIndex);
    const [first, second, ...others] = index.manifests;
    const manifest = parseManifest(await store.read(first?.digest ?? ''));
    assert.equal(manifest.config.mediaType, MEDIA_TYPE.ociConfig);
    assert.equal(manifest.layers[0]?.mediaType, MEDIA_TYPE.dockerLayerGzip);
    assert.equal(manifest.annotations?.[ANNOTATION.indexDigest], others[2]?.digest);
    assert.equal(parseManifest(await store.read(second?.digest ?? '')).annotations, undefined);
    assert.deepEqual(
      others.slice(0, 2).map(({ digest }) => digest),
      attestations.map(({ digest }) => digest),
    );
    assert.deepEqual(
      others.slice(0, 2).map(({ annotations }) => annotations?.[ATTESTATION_REFERENCE]),
      [first?.digest, second?.digest],
    );
    assert.deepEqual({ ...others[2]?.annotations }, { [ANNOTATION.imageManifestDigest]: first?.digest });
    assert.deepEqual(store.labelsOf(first?.digest ?? ''), {
      'containerd.io/gc.ref.content.config': manifest.config.digest,
      'containerd.io/gc.ref.content.l.0': manifest.layers[0].digest,
    });
  });

  it('gives the same image when it is done again, and keeps the indexes of other platforms', async (t) => {
    const store = new MemoryStore();
    using artifacts = openDatabase(t);
    const target = addIndex(store, [addImage(store, amd64, 'one'), addImage(store, arm64, 'two')]);
    const first = await convertImage(options(store, target, { platforms: 'all', artifacts }), signal);
    const again = await convertImage(options(store, first.target, { platforms: 'all', artifacts }), signal);
    assert.equal(again.target.digest, first.target.digest);
    const partly = await convertImage(options(store, first.target, { platforms: [arm64], artifacts }), signal);
    assert.equal(partly.target.digest, first.target.digest);
    const other = await convertImage(options(store, first.target, { platforms: [arm64], artifacts, spanSizeBytes: 1n }), signal);
    const [before, after] = [await indexOf(store, first), await indexOf(store, other)];
    assert.equal(after.manifests.length, 4);
    assert.deepEqual(after.manifests[2], before.manifests[2]);
    assert.notEqual(after.manifests[3]?.digest, before.manifests[3]?.digest);
    const noted = artifacts.list({ kind: 'index', imageDigest: other.target.digest });
    assert.deepEqual(
      noted.map(({ digest }) => digest).sort(),
      after.manifests
        .slice(2)
        .map(({ digest }) => digest)
        .sort(),
    );
    for (const { digest, originalDigest } of noted) {
      const entry = after.manifests.find((manifest) => manifest.digest === digest);
      assert.equal(originalDigest, entry?.annotations?.[ANNOTATION.imageManifestDigest]);
    }
  });

  it('wraps a single manifest, with the platform of its config', async () => {
    const store = new MemoryStore();
    const { mediaType, digest, size } = addImage(store, arm64, 'one');
    const target = { mediaType, digest, size };
    const index = await indexOf(store, await convertImage(options(store, target), signal));
    assert.deepEqual(
      index.manifests.map(({ platform }) => platform),
      [
        { os: 'linux', architecture: 'arm64' },
        { os: 'linux', architecture: 'arm64' },
      ],
    );
    await assert.rejects(convertImage(options(store, target, { platforms: [amd64] }), signal), {
      code: 'PLATFORM_NOT_FOUND',
      message: 'image manifest for linux/amd64: not found',
    });
  });

  it('leaves manifests alone that are not here', async () => {
    const store = new MemoryStore();
    const absent = addImage(store, arm64, 'two');
    const target = addIndex(store, [addImage(store, amd64, 'one'), absent]);
    await store.delete(absent.digest);
    const index = await indexOf(store, await convertImage(options(store, target, { platforms: [amd64] }), signal));
    assert.deepEqual(index.manifests[1], absent);
    await assert.rejects(convertImage(options(store, target, { platforms: [arm64] }), signal), { code: 'NOT_FOUND' });
  });

  it('goes on without a platform that has nothing to index, and fails when none has', async () => {
    const store = new MemoryStore();
    const target = addIndex(store, [addImage(store, amd64, 'x'), addImage(store, arm64, 'larger')]);
    const converted = await convertImage(options(store, target, { platforms: 'all', minLayerSizeBytes: 3 }), signal);
    assert.deepEqual(
      converted.indexes.map(({ platform }) => platform),
      [arm64],
    );
    await assert.rejects(convertImage(options(store, target, { platforms: 'all', minLayerSizeBytes: 100 }), signal), {
      code: 'EMPTY_INDEX',
    });
  });

  it('names the layer that cannot be built', async () => {
    const store = new MemoryStore();
    const target = addImage(store, amd64, 'broken');
    await assert.rejects(convertImage(options(store, target), signal), {
      code: 'BUILD_FAILED',
      message: `errors encountered while building soci layers; ${sha256Digest(Buffer.from('broken'))}: no gzip`,
    });
  });

  it('refuses layers that are none, and sizes that are wrong', async () => {
    const store = new MemoryStore();
    await assert.rejects(convertImage(options(store, addImage(store, amd64, 'one', 'application/vnd.in-toto+json')), signal), {
      code: 'LAYER_UNSUPPORTED',
    });
    await assert.rejects(convertImage(options(store, addImage(store, amd64, 'one'), { spanSizeBytes: -1n }), signal), {
      code: 'OPTION_INVALID',
    });
  });

  it('stops when it is told to', async () => {
    const store = new MemoryStore();
    const stop = new AbortController();
    const waiting = options(store, addImage(store, amd64, 'one'), {
      builder: {
        build: (_source, _options, buildSignal) =>
          new Promise((_resolve, reject) => {
            buildSignal.addEventListener('abort', () => {
              reject(new Error('aborted'));
            });
            stop.abort(new Error('stop'));
          }),
      },
    });
    await assert.rejects(convertImage(waiting, stop.signal), { message: 'stop' });
  });
});

describe('createIndexes', () => {
  it('builds a layer that several platforms share once, and tells of it for each', async () => {
    const store = new MemoryStore();
    const target = addIndex(store, [addImage(store, amd64, 'shared'), addImage(store, arm64, 'shared')]);
    const told: string[] = [];
    const made = await createIndexes(
      options(store, target, {
        platforms: 'all',
        onEvent: (event) => {
          if (event.kind === 'ztoc') told.push(`${event.layerDigest.slice(7, 15)} ${String(event.reused)}`);
        },
      }),
      signal,
    );
    const layer = sha256Digest(Buffer.from('shared')).slice(7, 15);
    assert.deepEqual(told, [`${layer} false`, `${layer} true`]);
    assert.equal(new Set(made.map(({ descriptor }) => descriptor.digest)).size, 2);
  });

  it('takes what an earlier run built, unless it is forced or the blob has gone', async (t) => {
    const store = new MemoryStore();
    using artifacts = openDatabase(t);
    const target = addImage(store, amd64, 'one');
    let built = 0;
    const run = async (more: Partial<ConvertImageOptions> = {}): Promise<number> => {
      const base = options(store, target, { artifacts, platforms: [amd64] });
      built = 0;
      const builder: ConvertImageOptions['builder'] = {
        build: (...args) => {
          built++;
          return base.builder.build(...args);
        },
      };
      await createIndexes({ ...base, builder, ...more }, signal);
      return built;
    };
    assert.equal(await run(), 1);
    assert.equal(await run(), 0);
    assert.equal(await run({ spanSizeBytes: 5n }), 1);
    assert.equal(await run({ force: true }), 1);
    await store.delete(artifacts.list({ kind: 'ztoc', spanSizeBytes: 4_194_304n })[0]?.digest ?? '');
    assert.equal(await run(), 1);
  });
});
