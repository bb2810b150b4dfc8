import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it, type TestContext } from 'node:test';
import { MEDIA_TYPE, sha256Digest } from '@soci/image';
import { blobOf, bytesOf, client, referenceTo, signal } from './testing/clients.ts';
import { startWeb, type Seen, type Web, type WebAnswer } from './testing/web.ts';

const { bytes: blob, digest } = blobOf(1_000_000);
const descriptor = { digest, size: blob.length };

/** Takes one blob, in whatever pieces; `disturb` may answer in its place. */
async function startSink(
  t: TestContext,
  disturb: (seen: Seen, number: number) => WebAnswer | undefined = () => undefined,
): Promise<{ readonly web: Web; readonly stored: () => string }> {
  let session = 0;
  let received: Buffer[] = [];
  const web = await startWeb(t, (seen, number) => {
    const disturbed = disturb(seen, number);
    if (disturbed !== undefined) return disturbed;
    const { method, path, body, headers } = seen;
    const location = `/v2/upload/${session}?state=%2B${received.length + 1}`;
    if (method === 'HEAD') return { status: 404 };
    if (method === 'POST') {
      session++;
      received = [];
      return { status: 202, headers: { location: `/v2/upload/${session}?state=%2B0` } };
    }
    if (!path.startsWith(`/v2/upload/${session}?state=%2B${received.length}`)) return { status: 404 };
    if (method === 'PATCH') {
      const offset = received.reduce((sum, piece) => sum + piece.length, 0);
      if (headers['content-range'] !== `${offset}-${offset + body.length - 1}`) return { status: 416 };
      received.push(body);
      return { status: 202, headers: { location } };
    }
    received.push(body);
    return path.endsWith(`&digest=${encodeURIComponent(digest)}`) ? { status: 201 } : { status: 400 };
  });
  return { web, stored: () => createHash('sha256').update(Buffer.concat(received)).digest('hex') };
}

function methods(web: Web): string[] {
  return web.seen.map(({ method }) => method);
}

async function* stream(): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < blob.length; at += 70_000) yield await Promise.resolve(blob.subarray(at, at + 70_000));
}

describe('pushBlob', () => {
  for (const [name, source] of [
    ['bytes', blob],
    ['a stream', stream],
  ] as const) {
    it(`sends ${name} in one request, and tells how far it is`, async (t) => {
      const { web, stored } = await startSink(t);
      const progress: number[] = [];
      assert.equal(
        await client(t).client.pushBlob(referenceTo(web.host), descriptor, source, signal, (sent) => progress.push(sent)),
        'pushed',
      );
      assert.equal(`sha256:${stored()}`, digest);
      assert.deepEqual(methods(web), ['HEAD', 'POST', 'PUT']);
      assert.equal(web.seen[2]?.headers['content-length'], String(blob.length));
      assert.equal(progress[0], 0);
      assert.equal(progress.at(-1), blob.length);
      assert.deepEqual(
        progress,
        progress.toSorted((a, b) => a - b),
      );
    });
  }

  it('sends pieces of the size asked for', async (t) => {
    const { web, stored } = await startSink(t);
    await client(t, { http: { pushChunkBytes: 400_000 } }).client.pushBlob(referenceTo(web.host), descriptor, stream, signal);
    assert.equal(`sha256:${stored()}`, digest);
    assert.deepEqual(
      web.seen.filter(({ method }) => method === 'PATCH').map(({ body }) => body.length),
      [400_000, 400_000, 200_000],
    );
  });

  it('sends pieces of the least size that the registry takes', async (t) => {
    const { web } = await startSink(t, ({ method }, number) =>
      method === 'POST' && number === 2
        ? { status: 202, headers: { location: '/v2/upload/0?state=%2B0', 'oci-chunk-min-length': '600000' } }
        : undefined,
    );
    await client(t, { http: { pushChunkBytes: 1000 } }).client.pushBlob(referenceTo(web.host), descriptor, stream, signal);
    assert.deepEqual(
      web.seen.filter(({ method }) => method === 'PATCH').map(({ body }) => body.length),
      [600_000, 400_000],
    );
  });

  it('sends pieces where one request is too large', async (t) => {
    const { web, stored } = await startSink(t, ({ body }) =>
      body.length === blob.length && web.seen.length < 4 ? { status: 413 } : undefined,
    );
    await client(t).client.pushBlob(referenceTo(web.host), descriptor, blob, signal);
    assert.equal(`sha256:${stored()}`, digest);
    assert.deepEqual(methods(web), ['HEAD', 'POST', 'PUT', 'POST', 'PATCH', 'PUT']);
  });

  it('begins anew when the upload fails in the middle', async (t) => {
    const { web, stored } = await startSink(t, ({ method }, number) => (method === 'PATCH' && number === 4 ? { status: 503 } : undefined));
    let opened = 0;
    const source = (): AsyncIterable<Uint8Array> => {
      opened++;
      return stream();
    };
    await client(t, { http: { pushChunkBytes: 400_000 } }).client.pushBlob(referenceTo(web.host), descriptor, source, signal);
    assert.equal(`sha256:${stored()}`, digest);
    assert.equal(opened, 2);
    assert.deepEqual(methods(web), ['HEAD', 'POST', 'PATCH', 'PATCH', 'POST', 'PATCH', 'PATCH', 'PATCH', 'PUT']);
  });

  it('does nothing for a blob that is there', async (t) => {
    const web = await startWeb(t, () => ({ status: 200 }));
    assert.equal(await client(t).client.pushBlob(referenceTo(web.host), descriptor, blob, signal), 'present');
    assert.deepEqual(methods(web), ['HEAD']);
  });

  it('fails with the error of its source, and at once', async (t) => {
    const { web } = await startSink(t);
    const broken = new Error('disk gone');
    async function* source(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(blob.subarray(0, 1000));
      throw broken;
    }
    for (const pushChunkBytes of [0, 500]) {
      await assert.rejects(
        client(t, { http: { pushChunkBytes } }).client.pushBlob(referenceTo(web.host), descriptor, source, signal),
        broken,
      );
    }
    assert.equal(methods(web).filter((method) => method === 'POST').length, 2);
  });

  for (const size of [blob.length - 1, blob.length + 1]) {
    it(`fails when the source has not the ${size} bytes of the descriptor`, async (t) => {
      const { web } = await startSink(t);
      await assert.rejects(client(t).client.pushBlob(referenceTo(web.host), { digest, size }, blob, signal), { code: 'SIZE_MISMATCH' });
    });
  }

  it('ends when the caller does', async (t) => {
    const { web } = await startSink(t);
    const controller = new AbortController();
    async function* source(): AsyncGenerator<Uint8Array> {
      yield blob.subarray(0, 1000);
      controller.abort(new Error('stopped'));
      await new Promise(() => undefined);
    }
    await assert.rejects(client(t).client.pushBlob(referenceTo(web.host), descriptor, source, controller.signal), /^Error: stopped$/);
  });
});

describe('mountBlob', () => {
  it('says whether the registry took the blob over', async (t) => {
    for (const [status, want] of [
      [201, true],
      [202, false],
    ] as const) {
      const web = await startWeb(t, () => ({ status, headers: { location: '/v2/x' } }));
      assert.equal(await client(t).client.mountBlob(referenceTo(web.host), digest, 'other/app', signal), want);
      assert.equal(web.seen[0]?.path, `/v2/team/app/blobs/uploads/?mount=${encodeURIComponent(digest)}&from=other%2Fapp`);
    }
  });
});

describe('pushManifest', () => {
  const subject = { mediaType: MEDIA_TYPE.ociManifest, digest: `sha256:${'a'.repeat(64)}`, size: 7 };
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      config: { mediaType: 'application/x', digest: `sha256:${'b'.repeat(64)}`, size: 2 },
      layers: [],
      subject,
      annotations: { k: 'v' },
    }),
  );

  it('enters a manifest with a subject in the stand-in tag, once, beside what is there', async (t) => {
    const listed = { mediaType: MEDIA_TYPE.ociManifest, digest: `sha256:${'c'.repeat(64)}`, size: 1, artifactType: 'application/y' };
    let index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [listed] }));
    const tag = subject.digest.replace(':', '-');
    const web = await startWeb(t, ({ method, path, body }) => {
      if (method === 'GET') return { status: 200, body: index, headers: { 'content-type': MEDIA_TYPE.ociIndex } };
      if (path.endsWith(tag)) index = Buffer.from(body);
      return { status: 201 };
    });
    const { client: subject1 } = client(t);
    for (let i = 0; i < 2; i++) {
      const pushed = await subject1.pushManifest(referenceTo(web.host), manifest, MEDIA_TYPE.ociManifest, undefined, signal);
      assert.deepEqual(pushed, { mediaType: MEDIA_TYPE.ociManifest, digest: sha256Digest(manifest), size: manifest.length });
    }
    assert.deepEqual(
      web.seen.map(({ method, path }) => `${method} ${path}`),
      [
        `PUT /v2/team/app/manifests/${sha256Digest(manifest)}`,
        `GET /v2/team/app/manifests/${tag}`,
        `PUT /v2/team/app/manifests/${tag}`,
        `PUT /v2/team/app/manifests/${sha256Digest(manifest)}`,
        `GET /v2/team/app/manifests/${tag}`,
      ],
    );
    assert.deepEqual(JSON.parse(index.toString()), {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociIndex,
      manifests: [
        listed,
        {
          mediaType: MEDIA_TYPE.ociManifest,
          digest: sha256Digest(manifest),
          size: manifest.length,
          annotations: { k: 'v' },
          artifactType: 'application/x',
        },
      ],
    });
  });

  it('leaves it to a registry that took note of the subject', async (t) => {
    const web = await startWeb(t, () => ({ status: 201, headers: { 'oci-subject': subject.digest } }));
    await client(t).client.pushManifest(referenceTo(web.host), manifest, MEDIA_TYPE.ociManifest, '1.0', signal);
    assert.deepEqual(
      web.seen.map(({ path }) => path),
      ['/v2/team/app/manifests/1.0'],
    );
  });

  it('fails when the registry stored something else', async (t) => {
    const web = await startWeb(t, () => ({ status: 201, headers: { 'docker-content-digest': digest } }));
    await assert.rejects(client(t).client.pushManifest(referenceTo(web.host), manifest, MEDIA_TYPE.ociManifest, '1.0', signal), {
      code: 'DIGEST_MISMATCH',
    });
  });
});

describe('the source of a push', () => {
  it('can be read back', async () => assert.deepEqual(await bytesOf(stream()), blob));
});
