import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { ContainerdImages, ContainerdStore, containerdApi, openLease, type ContainerdApi } from '@soci/content';
import { contentStoreConformance, imageStoreConformance } from '@soci/content/conformance';
import { sha256Digest } from '@soci/image';
import { NAMESPACE_HEADER, openChannel, type Channel } from '@soci/rpc';
import { Containerd } from '@soci/testing';
import { containerdOptions, whyNot } from './testing/needs.ts';

const signal = new AbortController().signal;

describe('against containerd', { skip: whyNot() }, () => {
  let directory: string;
  let containerd: Containerd;
  let channel: Channel;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'soci-'));
    containerd = await Containerd.start(containerdOptions(directory));
    channel = openChannel({ address: containerd.address, headers: { [NAMESPACE_HEADER]: 'test' } });
  });

  after(async () => {
    channel[Symbol.dispose]();
    await containerd[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  const api = (): ContainerdApi => containerdApi(channel);
  const leased = async (t: TestContext): Promise<ContainerdStore> => {
    const lease = await openLease(api(), {}, signal);
    t.after(async () => {
      await lease[Symbol.asyncDispose]();
    });
    return new ContainerdStore({ api: api(), leaseId: lease.id });
  };

  contentStoreConformance('ContainerdStore', leased);
  imageStoreConformance('ContainerdImages', async (t) => ({ images: new ContainerdImages(api()), content: await leased(t) }));

  contentStoreConformance('ContainerdStore without access to containerd’s files', async (t) => {
    const lease = await openLease(api(), {}, signal);
    t.after(async () => {
      await lease[Symbol.asyncDispose]();
    });
    const introspection = { ...api().introspection, plugins: () => Promise.resolve({ plugins: [] }) };
    return new ContainerdStore({ api: { ...api(), introspection }, leaseId: lease.id });
  });

  it('reads from containerd’s own files where it can', async (t) => {
    const store = await leased(t);
    const bytes = Buffer.from('by path');
    const digest = sha256Digest(bytes);
    await store.write({ mediaType: 'application/octet-stream', digest, size: bytes.length }, bytes, {}, signal);
    await using reader = await store.open(digest, signal);
    assert.match(reader.path ?? '', /\/blobs\/sha256\//);
  });

  it('takes a blob of another namespace without its bytes being sent again', async (t) => {
    const bytes = Buffer.alloc(3 << 20, 'shared');
    const descriptor = { mediaType: 'application/octet-stream', digest: sha256Digest(bytes), size: bytes.length };
    await (await leased(t)).write(descriptor, bytes, {}, signal);
    const other = containerdApi(channel.withHeaders({ [NAMESPACE_HEADER]: 'other' }));
    await using lease = await openLease(other, {}, signal);
    const store = new ContainerdStore({ api: other, leaseId: lease.id });
    assert.equal(await store.stat(descriptor.digest, signal), undefined);
    await store.write(descriptor, bytes, { labels: { a: 'b' } }, signal);
    assert.deepEqual((await store.stat(descriptor.digest, signal))?.labels.a, 'b');
  });

  it('keeps from the garbage collector what a lease holds, and only that long', async () => {
    const bytes = Buffer.from('leased');
    const descriptor = { mediaType: 'application/octet-stream', digest: sha256Digest(bytes), size: bytes.length };
    const reader = new ContainerdStore({ api: api() });
    {
      await using lease = await openLease(api(), {}, signal);
      await new ContainerdStore({ api: api(), leaseId: lease.id }).write(descriptor, bytes, {}, signal);
      await collectGarbage();
      assert.notEqual(await reader.stat(descriptor.digest, signal), undefined);
    }
    await collectGarbage();
    assert.equal(await reader.stat(descriptor.digest, signal), undefined);
  });

  it('keeps what is cached until it is given up, and longer where somebody else has it', async (t) => {
    const service = new ContainerdStore({ api: api() });
    const blobs = ['cached', 'cached and kept', 'cached and labelled'].map((text) => {
      const bytes = Buffer.from(text);
      return { bytes, descriptor: { mediaType: 'application/octet-stream', digest: sha256Digest(bytes), size: bytes.length } };
    });
    const there = async (): Promise<readonly boolean[]> =>
      Promise.all(blobs.map(async ({ descriptor }) => (await service.stat(descriptor.digest, signal)) !== undefined));
    for (const { bytes, descriptor } of blobs) await service.write(descriptor, bytes, { cached: true }, signal);
    await collectGarbage();
    assert.deepEqual(await there(), [true, true, true]);

    const cli = await leased(t);
    const [, kept, labelled] = blobs;
    await cli.write(kept!.descriptor, kept!.bytes, {}, signal);
    await cli.label(labelled!.descriptor.digest, {}, signal);
    for (const { descriptor } of blobs) await service.release(descriptor.digest, signal);
    await service.release(sha256Digest(Buffer.from('never there')), signal);
    await collectGarbage();
    assert.deepEqual(await there(), [false, true, true]);
  });

  async function collectGarbage(): Promise<void> {
    const { lease } = await api().leases.create({ id: 'gc', labels: {} }, { signal });
    await api().leases.delete({ id: lease?.id ?? '', sync: true }, { signal });
  }
});
