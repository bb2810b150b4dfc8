import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { type CachingStore, OciLayoutStore } from '@soci/content';
import { encodeSociIndex } from '@soci/index';
import { collectLogs } from '@soci/log';
import { RegistryClient } from '@soci/registry';
import { FetcherError } from './errors.ts';
import type { ImageFetcher, ResolveImageRequest } from './image-fetcher.ts';
import { RegistryImageFetcher } from './registry-image-fetcher.ts';
import { overSocket } from './testing/over-socket.ts';
import { type FakeRegistry, startRegistry } from './testing/fake-registry.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const V1 = 'application/vnd.amazon.soci.index.v1+json';
const BOTH = { sociV1: true, sociV2: true };
const signal = new AbortController().signal;

interface Rig {
  readonly fetcher: ImageFetcher;
  readonly origin: RegistryImageFetcher;
  readonly registry: FakeRegistry;
  readonly lines: readonly string[];
  readonly ztoc: Buffer;
  readonly layer: Buffer;
  readonly layerDigest: string;
  readonly ztocDigest: string;
  image(annotations?: Record<string, string>): { digest: string };
  index(
    version: 'v1' | 'v2',
    subject?: { digest: string; mediaType: string; size: number },
  ): { digest: string; mediaType: string; size: number };
  request(manifestDigest: string, extra?: Partial<ResolveImageRequest>): ResolveImageRequest;
}

type Side = 'in process' | 'over a socket';

async function rig(t: TestContext, side: Side, store?: CachingStore): Promise<Rig> {
  const registry = await startRegistry(t);
  const { log, lines } = collectLogs();
  const client = new RegistryClient({
    credentials: { name: 'none', resolve: () => Promise.resolve({ kind: 'none' }) },
    log,
    http: { maxRetries: 0 },
  });
  t.after(() => client[Symbol.asyncDispose]());
  const origin = new RegistryImageFetcher({ registry: client, log, ...(store === undefined ? {} : { store }) });
  t.after(() => origin[Symbol.asyncDispose]());
  const fetcher = side === 'in process' ? origin : (await overSocket(t, origin)).fetcher;
  const layer = Buffer.alloc(300_000, 'layer bytes ');
  const ztoc = Buffer.alloc(1_500_000, 'ztoc bytes ');
  const layerDescriptor = registry.blob(layer, 'application/vnd.oci.image.layer.v1.tar+gzip');
  const ztocDescriptor = registry.blob(ztoc);
  return {
    fetcher,
    origin,
    registry,
    lines,
    ztoc,
    layer,
    layerDigest: layerDescriptor.digest,
    ztocDigest: ztocDescriptor.digest,
    image: (annotations = {}) =>
      registry.manifest(
        { schemaVersion: 2, mediaType: MANIFEST, config: registry.blob('{}'), layers: [layerDescriptor], annotations },
        MANIFEST,
      ),
    index: (version, subject) => {
      const annotations = { 'com.amazon.soci.image-layer-digest': layerDescriptor.digest };
      const bytes = encodeSociIndex({
        version,
        blobs: [{ ...ztocDescriptor, annotations }],
        buildTool: 'test',
        ...(subject === undefined ? {} : { subject }),
      });
      return registry.manifest(JSON.parse(Buffer.from(bytes).toString()) as object, MANIFEST);
    },
    request: (manifestDigest, extra = {}) => ({
      reference: `${registry.host}/app:1`,
      namespaces: ['ns'],
      manifestDigest,
      pullModes: BOTH,
      ...extra,
    }),
  };
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(pieces));
}

function failsWith(code: string, text?: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof FetcherError || (error instanceof Error && 'code' in error), String(error));
    assert.equal((error as FetcherError).code, code, String(error));
    if (text !== undefined) assert.match((error as Error).message, text);
    return true;
  };
}

for (const side of ['in process', 'over a socket'] as const) {
  describe(`ImageFetcher, ${side}`, () => {
    it('takes the index that a label names, whatever the pull modes say', async (t) => {
      const it = await rig(t, side);
      const index = it.index('v2');
      const image = it.image();
      const found = await it.fetcher.resolveImage(
        it.request(image.digest, { indexDigest: index.digest, pullModes: { sociV1: false, sociV2: false } }),
        signal,
      );
      assert.equal(found.indexOrigin, 'label');
      assert.equal(found.indexDescriptor.digest, index.digest);
      assert.equal(found.index.ztocs.get(it.layerDigest)?.descriptor.digest, it.ztocDigest);
      assert.equal(found.manifest.layers[0]?.digest, it.layerDigest);
      const line = JSON.parse(it.lines.find((text) => text.includes('fetching SOCI artifacts using index descriptor')) ?? '{}') as Record<
        string,
        unknown
      >;
      assert.equal(line.digest, index.digest);
      assert.ok(
        Object.values(line).every((value) => typeof value === 'string'),
        'all fields are texts',
      );
    });

    it("takes the manifest's annotation before referrers", async (t) => {
      const it = await rig(t, side);
      const image = it.image({ 'com.amazon.soci.index-digest': it.index('v2').digest });
      const found = await it.fetcher.resolveImage(it.request(image.digest), signal);
      assert.deepEqual([found.indexOrigin, found.index.version], ['annotation', 'v2']);
      assert.ok(!it.registry.requests.some((text) => text.includes('referrers')));
    });

    it('takes the first of the referrers when v1 is on, and does not look for one when it is off', async (t) => {
      const it = await rig(t, side);
      const image = it.image() as { digest: string; mediaType: string; size: number };
      const index = it.index('v1', image);
      it.registry.refer(image.digest, { ...index, artifactType: V1 });
      const found = await it.fetcher.resolveImage(it.request(image.digest), signal);
      assert.deepEqual([found.indexOrigin, found.indexDescriptor.digest], ['referrers', index.digest]);
      const off = { pullModes: { sociV1: false, sociV2: true } };
      await assert.rejects(it.fetcher.resolveImage(it.request(image.digest, off), signal), failsWith('NO_INDEX', /v1 is disabled/));
    });

    it('says why there is no index', async (t) => {
      const it = await rig(t, side);
      const { digest } = it.image();
      const resolve = (extra: Partial<ResolveImageRequest>) => it.fetcher.resolveImage(it.request(digest, extra), signal);
      await assert.rejects(resolve({ pullModes: { sociV1: false, sociV2: false } }), failsWith('NO_INDEX', /disabled/));
      await assert.rejects(resolve({}), failsWith('NO_INDEX', /no soci v1 index refers/));
      await assert.rejects(resolve({ indexDigest: 'sha256:abc' }), failsWith('REQUEST_INVALID'));
      await assert.rejects(resolve({ reference: 'NOT A REFERENCE' }), failsWith('REQUEST_INVALID'));
    });

    it('does not look for v1 when the annotated index is not there', async (t) => {
      const it = await rig(t, side);
      const image = it.image({ 'com.amazon.soci.index-digest': `sha256:${'0'.repeat(64)}` }) as {
        digest: string;
        mediaType: string;
        size: number;
      };
      it.registry.refer(image.digest, { ...it.index('v1', image), artifactType: V1 });
      await assert.rejects(it.fetcher.resolveImage(it.request(image.digest), signal), failsWith('NOT_FOUND'));
    });

    it('refuses what is no index', async (t) => {
      const it = await rig(t, side);
      const image = it.image();
      await assert.rejects(
        it.fetcher.resolveImage(it.request(image.digest, { indexDigest: image.digest }), signal),
        failsWith('INDEX_INVALID'),
      );
    });

    it('keeps the code of what a registry answers', async (t) => {
      const it = await rig(t, side);
      const { digest } = it.image();
      for (const [status, code] of [
        [401, 'UNAUTHORIZED'],
        [403, 'DENIED'],
        [503, 'UNAVAILABLE'],
      ] as const) {
        it.registry.fault = () => ({ status });
        await assert.rejects(it.fetcher.resolveImage(it.request(digest), signal), failsWith(code));
      }
    });

    it('reads an artifact and checks it', async (t) => {
      const it = await rig(t, side);
      const request = {
        reference: `${it.registry.host}/app:1`,
        namespaces: [],
        descriptor: { digest: it.ztocDigest, size: it.ztoc.length },
      };
      assert.deepEqual(Buffer.from(await it.fetcher.readArtifact(request, signal)), it.ztoc);
      it.registry.fault = () => ({ flip: true });
      await assert.rejects(it.fetcher.readArtifact(request, signal), failsWith('DIGEST_MISMATCH'));
      await assert.rejects(
        it.fetcher.readArtifact({ ...request, descriptor: { digest: it.ztocDigest, size: 2 ** 40 } }, signal),
        failsWith('TOO_LARGE'),
      );
    });

    it('reads a range of a blob', async (t) => {
      const it = await rig(t, side);
      const request = {
        reference: `${it.registry.host}/app:1`,
        digest: it.layerDigest,
        offsetBytes: 1000,
        lengthBytes: 200_000,
        priority: 'demand',
      } as const;
      assert.deepEqual(await collect(it.fetcher.read(request, signal)), it.layer.subarray(1000, 201_000));
      it.registry.fault = () => ({ status: 404 });
      await assert.rejects(collect(it.fetcher.read(request, signal)), failsWith('NOT_FOUND'));
    });

    it('ends the request to the registry when the reader gives up', async (t) => {
      const it = await rig(t, side);
      it.registry.fault = () => ({ hang: true });
      const stop = new AbortController();
      const request = {
        reference: `${it.registry.host}/app:1`,
        digest: it.layerDigest,
        offsetBytes: 0,
        lengthBytes: 100,
        priority: 'fill',
      } as const;
      const reading = collect(it.fetcher.read(request, stop.signal));
      while (it.registry.requests.length === 0) await new Promise(setImmediate);
      stop.abort(new Error('enough'));
      await assert.rejects(reading, /enough/);
      await it.registry.closedByClient;
    });
  });
}

describe('RegistryImageFetcher', () => {
  for (const side of ['in process', 'over a socket'] as const) {
    it(`keeps artifacts until they are released: ${side}`, async (t) => {
      const folder = await mkdtemp(join(tmpdir(), 'soci-content-'));
      t.after(() => rm(folder, { recursive: true, force: true }));
      const store = new OciLayoutStore(folder);
      const it = await rig(t, side, store);
      const index = it.index('v2');
      const image = it.image({ 'com.amazon.soci.index-digest': index.digest });
      const reference = `${it.registry.host}/app:1`;
      const pull = async (): Promise<void> => {
        await it.fetcher.resolveImage(it.request(image.digest), signal);
        await it.fetcher.readArtifact({ reference, namespaces: [], descriptor: { digest: it.ztocDigest, size: it.ztoc.length } }, signal);
      };
      const listed = async (): Promise<readonly string[]> => (await Array.fromAsync(store.list(signal))).map(({ digest }) => digest).sort();

      await pull();
      await it.origin.settled();
      assert.deepEqual(await listed(), [index.digest, it.ztocDigest].sort());
      await it.fetcher.releaseArtifacts([it.ztocDigest], signal);
      assert.deepEqual(await listed(), [index.digest]);
      await store.label(index.digest, {}, signal); // somebody else needs it
      await pull();
      await it.fetcher.releaseArtifacts([it.ztocDigest, index.digest, it.layerDigest], signal); // not written yet
      await it.origin.settled();
      assert.deepEqual(await listed(), [index.digest]);
      await assert.rejects(it.fetcher.releaseArtifacts(['sha256:../../x'], signal));
    });
  }

  it('looks into the content store first, and keeps there what it fetched', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'soci-content-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const store = new OciLayoutStore(folder);
    const it = await rig(t, 'in process', store);
    const index = it.index('v2');
    const image = it.image({ 'com.amazon.soci.index-digest': index.digest });
    const artifact = {
      reference: `${it.registry.host}/app:1`,
      namespaces: [],
      descriptor: { digest: it.ztocDigest, size: it.ztoc.length },
    };
    for (let round = 0; round < 2; round++) {
      await it.fetcher.resolveImage(it.request(image.digest), signal);
      assert.deepEqual(Buffer.from(await it.fetcher.readArtifact(artifact, signal)), it.ztoc);
      await it.origin.settled();
    }
    assert.equal(it.registry.requests.filter((text) => text.includes(index.digest.slice(0, 17))).length, 1);
    assert.equal(it.registry.requests.filter((text) => text.includes(it.ztocDigest.slice(0, 17))).length, 1);
    assert.ok((await store.stat(it.ztocDigest, signal)) !== undefined);
  });
});
