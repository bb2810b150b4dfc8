import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { hasCode } from '@soci/errors';
import { MEDIA_TYPE, sha256Digest } from '@soci/image';
import { contentStoreConformance, imageStoreConformance } from './conformance.ts';
import { OciLayoutIndex, OciLayoutStore } from './index.ts';

const signal = new AbortController().signal;

async function makeTempDir(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'content-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

contentStoreConformance('OciLayoutStore', async (t) => new OciLayoutStore(join(await makeTempDir(t), 'content')));
imageStoreConformance('OciLayoutIndex', async (t) => {
  const root = join(await makeTempDir(t), 'content');
  return { images: new OciLayoutIndex(root), content: new OciLayoutStore(root) };
});

describe('OciLayoutStore on disk', () => {
  const bytes = Buffer.from('{"schemaVersion":2}');
  const manifest = { mediaType: MEDIA_TYPE.ociManifest, digest: sha256Digest(bytes), size: bytes.length };

  it('is an OCI layout: read-only blobs, manifests listed once', async (t) => {
    const root = join(await makeTempDir(t), 'content');
    const store = new OciLayoutStore(root);
    await store.write(manifest, bytes, {}, signal);
    await new OciLayoutStore(root).write(manifest, bytes, {}, signal);
    assert.equal(await readFile(join(root, 'oci-layout'), 'utf8'), '{"imageLayoutVersion":"1.0.0"}');
    const { mediaType, digest, size } = manifest;
    assert.equal(
      await readFile(join(root, 'index.json'), 'utf8'),
      JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType, digest, size }] }),
    );
    assert.equal((await stat(join(root, 'blobs', digest.replace(':', '/')))).mode & 0o777, 0o444);
    assert.deepEqual(await readdir(join(root, 'ingest')), []);
    await store.delete(digest, signal);
    assert.equal(await readFile(join(root, 'index.json'), 'utf8'), '{"schemaVersion":2,"manifests":[]}');
  });

  it('takes away what a killed process left a day ago, and nothing newer', async (t) => {
    const root = join(await makeTempDir(t), 'content');
    await mkdir(join(root, 'ingest'), { recursive: true });
    for (const name of ['old', 'new']) await writeFile(join(root, 'ingest', name), 'half');
    const twoDaysAgo = Date.now() / 1000 - 2 * 24 * 3600;
    await utimes(join(root, 'ingest', 'old'), twoDaysAgo, twoDaysAgo);
    await new OciLayoutStore(root).write(manifest, bytes, {}, signal);
    assert.deepEqual(await readdir(join(root, 'ingest')), ['new']);
  });

  it('gives up what is cached, and nothing that somebody stored to stay', async (t) => {
    const root = join(await makeTempDir(t), 'content');
    const [service, cli] = [new OciLayoutStore(root), new OciLayoutStore(root)];
    const isThere = async (): Promise<boolean> => (await service.stat(manifest.digest, signal)) !== undefined;
    await service.release(manifest.digest, signal);

    await service.write(manifest, bytes, { cached: true }, signal);
    await service.release(manifest.digest, signal);
    assert.equal(await isThere(), false);
    assert.equal(await readFile(join(root, 'index.json'), 'utf8'), '{"schemaVersion":2,"manifests":[]}');

    for (const keep of [() => cli.write(manifest, bytes, {}, signal), () => cli.label(manifest.digest, {}, signal)]) {
      await service.write(manifest, bytes, { cached: true }, signal);
      await keep();
      await service.write(manifest, bytes, { cached: true }, signal);
      await service.release(manifest.digest, signal);
      assert.equal(await isThere(), true);
      await cli.delete(manifest.digest, signal);
    }
    assert.deepEqual(await readdir(join(root, 'ingest')), []);
  });

  it('loses no blob that is stored to stay while it is given up', async (t) => {
    const root = join(await makeTempDir(t), 'content');
    const [service, cli] = [new OciLayoutStore(root), new OciLayoutStore(root)];
    for (let round = 0; round < 100; round++) {
      await service.write(manifest, bytes, { cached: true }, signal);
      await Promise.all([service.release(manifest.digest, signal), cli.write(manifest, bytes, {}, signal)]);
      assert.deepEqual(Buffer.from(await service.read(manifest.digest, bytes.length, signal)), bytes, String(round));
      await service.release(manifest.digest, signal);
      assert.notEqual(await service.stat(manifest.digest, signal), undefined, String(round));
      await cli.delete(manifest.digest, signal);
    }
  });

  it('ends what a process that was killed had begun to give up', async (t) => {
    const root = join(await makeTempDir(t), 'content');
    const other = Buffer.from('kept meanwhile');
    const kept = { mediaType: 'application/octet-stream', digest: sha256Digest(other), size: other.length };
    const moved = async (digest: string): Promise<void> =>
      rename(join(root, 'blobs', digest.replace(':', '/')), join(root, 'ingest', `released-${digest.replace(':', '-')}-00`));
    const store = new OciLayoutStore(root);
    await store.write(manifest, bytes, { cached: true }, signal);
    await store.write(kept, other, {}, signal);
    await moved(manifest.digest);
    await moved(kept.digest);
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 120_000 });
    const next = new OciLayoutStore(root);
    await next.release(sha256Digest(Buffer.from('nothing')), signal);
    assert.equal(await next.stat(manifest.digest, signal), undefined);
    assert.deepEqual(Buffer.from(await next.read(kept.digest, other.length, signal)), other);
    assert.deepEqual(await readdir(join(root, 'ingest')), []);
  });

  it('notices a blob that was changed on disk', async (t) => {
    const root = join(await makeTempDir(t), 'content');
    const store = new OciLayoutStore(root);
    await store.write(manifest, bytes, {}, signal);
    const path = join(root, 'blobs', manifest.digest.replace(':', '/'));
    await rm(path);
    await writeFile(path, '{"schemaVersion":3}');
    await assert.rejects(store.read(manifest.digest, 100, signal), (error) => hasCode(error, 'DIGEST_MISMATCH'));
  });

  it('says which file is broken', async (t) => {
    const root = join(await makeTempDir(t), 'content');
    await mkdir(root);
    await writeFile(join(root, 'index.json'), '{');
    await assert.rejects(
      new OciLayoutIndex(root).list(signal),
      (error) => hasCode(error, 'STORE_BROKEN') && error.message.includes('index.json'),
    );
  });

  it('keeps names when the list of manifests grows too long', async (t) => {
    const root = join(await makeTempDir(t), 'content');
    const store = new OciLayoutStore(root);
    await store.write(manifest, bytes, {}, signal);
    const images = new OciLayoutIndex(root);
    await images.put({ name: 'kept', target: manifest, labels: {} }, signal);
    const many = Array.from({ length: 4_095 }, (_, i) => ({ ...manifest, digest: sha256Digest(Buffer.from(String(i))) }));
    const { manifests } = JSON.parse(await readFile(join(root, 'index.json'), 'utf8')) as { manifests: unknown[] };
    await writeFile(join(root, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [...manifests, ...many] }));
    await images.add({ ...manifest, digest: sha256Digest(Buffer.from('last')) });
    const after = JSON.parse(await readFile(join(root, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
    assert.equal(after.manifests.length, 4_000);
    assert.equal(after.manifests.at(-1)?.digest, sha256Digest(Buffer.from('last')));
    assert.deepEqual((await images.get('kept', signal))?.target, manifest);
  });
});
