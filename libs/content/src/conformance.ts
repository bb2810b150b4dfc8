import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it, type TestContext } from 'node:test';
import { hasCode } from '@soci/errors';
import { sha256Digest, type Descriptor } from '@soci/image';
import type { ImageStore } from './image-store.ts';
import type { ContentStore, ListableStore } from './store.ts';

const signal = new AbortController().signal;
const OCTETS = 'application/octet-stream';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/** What every {@link ContentStore} has to do. For tests. @param open gives a store to work in; blobs of other tests may be in it */
export function contentStoreConformance(name: string, open: (t: TestContext) => Promise<ListableStore>): void {
  describe(`${name} as a content store`, () => {
    it('keeps what is written, under its digest', async (t) => {
      const store = await open(t);
      for (const size of [0, 1, 4096, (5 << 20) + 3]) {
        const { descriptor, bytes } = blob(`kept ${size}`, size);
        await store.write(descriptor, bytes, {}, signal);
        assert.equal((await store.stat(descriptor.digest, signal))?.sizeBytes, size);
        assert.ok(Buffer.from(await store.read(descriptor.digest, size, signal)).equals(bytes));
      }
    });

    it('takes a stream of pieces of any size', async (t) => {
      const store = await open(t);
      const { descriptor, bytes } = blob('pieces', 3 << 20);
      await store.write(descriptor, pieces(bytes, [1, 70_000, 2 << 20, 5]), {}, signal);
      assert.ok(Buffer.from(await store.read(descriptor.digest, bytes.length, signal)).equals(bytes));
    });

    it('reads from an offset, and by path where it gives one', async (t) => {
      const store = await open(t);
      const { descriptor, bytes } = blob('offset', 300_000);
      await store.write(descriptor, bytes, {}, signal);
      await using reader = await store.open(descriptor.digest, signal);
      for (const offset of [0, 1, 299_999, 300_000]) {
        assert.ok((await collect(reader.stream(offset, signal))).equals(bytes.subarray(offset)), String(offset));
      }
      if (reader.path !== undefined) assert.ok((await readFile(reader.path)).equals(bytes));
    });

    it('says what is not there', async (t) => {
      const store = await open(t);
      const { digest } = blob('never written', 10).descriptor;
      assert.equal(await store.stat(digest, signal), undefined);
      await assert.rejects(store.open(digest, signal), (error) => hasCode(error, 'NOT_FOUND'));
      await assert.rejects(store.read(digest, 10, signal), (error) => hasCode(error, 'NOT_FOUND'));
      await assert.rejects(store.label(digest, { a: 'b' }, signal), (error) => hasCode(error, 'NOT_FOUND'));
      await store.delete(digest, signal);
    });

    it('refuses what is no digest', async (t) => {
      const store = await open(t);
      for (const digest of ['', 'sha256:../../etc/passwd', `sha256:${'A'.repeat(64)}`, 'md5:00']) {
        await assert.rejects(store.stat(digest, signal), (error) => hasCode(error, 'DIGEST_INVALID'), digest);
      }
    });

    it('keeps nothing of content that is not what its descriptor says', async (t) => {
      const store = await open(t);
      const { descriptor, bytes } = blob('wrong', 200_000);
      const other = Buffer.from(bytes);
      other[7] = (other[7] ?? 0) ^ 1;
      await assert.rejects(store.write(descriptor, other, {}, signal), (error) => hasCode(error, 'DIGEST_MISMATCH'));
      await assert.rejects(store.write(descriptor, bytes.subarray(1), {}, signal), (error) => hasCode(error, 'SIZE_MISMATCH'));
      await assert.rejects(store.write(descriptor, endless(), {}, signal), (error) => hasCode(error, 'SIZE_MISMATCH'));
      assert.equal(await store.stat(descriptor.digest, signal), undefined);
      await store.write(descriptor, bytes, {}, signal);
    });

    it('lets a failing source through and can write the blob afterwards', async (t) => {
      const store = await open(t);
      const { descriptor, bytes } = blob('torn', 200_000);
      await assert.rejects(store.write(descriptor, torn(bytes), {}, signal));
      assert.equal(await store.stat(descriptor.digest, signal), undefined);
      await store.write(descriptor, bytes, {}, signal);
    });

    it('leaves a blob that is there as it is, also when two write it at once', async (t) => {
      const store = await open(t);
      const { descriptor, bytes } = blob('twice', 3 << 20);
      await Promise.all([store.write(descriptor, bytes, {}, signal), store.write(descriptor, bytes, {}, signal)]);
      await store.write(descriptor, bytes, { labels: { 'example.com/late': 'yes' } }, signal);
      assert.ok(Buffer.from(await store.read(descriptor.digest, bytes.length, signal)).equals(bytes));
      if (store.kind === 'containerd') {
        assert.equal((await store.stat(descriptor.digest, signal))?.labels['example.com/late'], 'yes');
      }
    });

    it('does not read more than it may', async (t) => {
      const store = await open(t);
      const { descriptor, bytes } = blob('too large', 1000);
      await store.write(descriptor, bytes, {}, signal);
      await assert.rejects(store.read(descriptor.digest, 999, signal), (error) => hasCode(error, 'TOO_LARGE'));
    });

    it('stops when it is told to', async (t) => {
      const store = await open(t);
      const { descriptor, bytes } = blob('stopped', 3 << 20);
      const stop = new AbortController();
      const write = store.write(descriptor, stopAfterFirst(bytes, stop), {}, stop.signal);
      await assert.rejects(write, /enough/);
      assert.equal(await store.stat(descriptor.digest, signal), undefined);
    });

    it('lists each blob once', async (t) => {
      const store = await open(t);
      const blobs = [blob('listed 1', 10), blob('listed 2', 20)];
      for (const { descriptor, bytes } of blobs) await store.write(descriptor, bytes, {}, signal);
      const sizes: number[] = [];
      for await (const { digest, sizeBytes } of store.list(signal)) {
        if (blobs.some(({ descriptor }) => descriptor.digest === digest)) sizes.push(sizeBytes);
      }
      assert.deepEqual(
        sizes.sort((a, b) => a - b),
        [10, 20],
      );
    });

    it('forgets what is deleted', async (t) => {
      const store = await open(t);
      const { descriptor, bytes } = blob('deleted', 50);
      await store.write(descriptor, bytes, {}, signal);
      await store.delete(descriptor.digest, signal);
      assert.equal(await store.stat(descriptor.digest, signal), undefined);
    });
  });
}

/** What every {@link ImageStore} has to do. For tests. @param open gives the image store and the content store that it names blobs of */
export function imageStoreConformance(
  name: string,
  open: (t: TestContext) => Promise<{ images: ImageStore; content: ContentStore }>,
): void {
  describe(`${name} as an image store`, () => {
    it('names a manifest, names it anew, and knows all names', async (t) => {
      const { images, content } = await open(t);
      const first = await storeManifest(content, 'first');
      const second = await storeManifest(content, 'second');
      assert.equal(await images.get('example.com/named:1', signal), undefined);
      await images.put({ name: 'example.com/named:1', target: first, labels: { 'example.com/a': '1' } }, signal);
      await images.put({ name: 'example.com/other:1', target: first, labels: {} }, signal);
      assert.deepEqual((await images.get('example.com/named:1', signal))?.target, first);
      await images.put({ name: 'example.com/named:1', target: second, labels: { 'example.com/b': '2' } }, signal);
      assert.deepEqual((await images.get('example.com/named:1', signal))?.target, second);
      assert.deepEqual((await images.get('example.com/other:1', signal))?.target, first);
      const names = (await images.list(signal)).map((image) => image.name).filter((image) => image.startsWith('example.com/'));
      assert.deepEqual(names.sort(), ['example.com/named:1', 'example.com/other:1']);
    });

    it('adds labels to a name, and to no other', async (t) => {
      const { images, content } = await open(t);
      const target = await storeManifest(content, 'labelled');
      await images.put({ name: 'example.com/labelled:1', target, labels: { kept: 'yes' } }, signal);
      await images.label('example.com/labelled:1', { added: 'too' }, signal);
      const { labels } = (await images.get('example.com/labelled:1', signal)) ?? { labels: {} };
      if (content.kind === 'containerd') assert.deepEqual(labels, { kept: 'yes', added: 'too' });
      await assert.rejects(images.label('example.com/absent:1', { a: 'b' }, signal), (error) => hasCode(error, 'NOT_FOUND'));
    });
  });
}

function blob(name: string, size: number): { descriptor: Descriptor; bytes: Buffer } {
  const bytes = Buffer.alloc(size);
  for (let offset = 0; offset < size; offset += 1024) bytes.write(`${name} ${offset} `, offset);
  return { descriptor: { mediaType: OCTETS, digest: sha256Digest(bytes), size }, bytes };
}

async function storeManifest(content: ContentStore, name: string): Promise<Descriptor> {
  const config = blob(`config ${name}`, 2);
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: config.descriptor, layers: [], annotations: { name } }),
  );
  const descriptor = { mediaType: MANIFEST, digest: sha256Digest(bytes), size: bytes.length };
  await content.write(descriptor, bytes, {}, signal);
  return descriptor;
}

async function* pieces(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let offset = 0, i = 0; offset < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    yield await Promise.resolve(bytes.subarray(offset, offset + size));
    offset += size;
  }
}

async function* endless(): AsyncGenerator<Uint8Array> {
  for (;;) yield await Promise.resolve(new Uint8Array(64 << 10));
}

async function* torn(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes.subarray(0, 100_000));
  throw new Error('the source broke');
}

async function* stopAfterFirst(bytes: Uint8Array, stop: AbortController): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes.subarray(0, 2 << 20));
  stop.abort(new Error('enough'));
  yield bytes.subarray(2 << 20);
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
