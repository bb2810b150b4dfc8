import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { MEDIA_TYPE, sha256Digest } from '@soci/image';
import { SYSTEM_CLOCK } from './clock.ts';
import { blobOf, bytesOf, client, QUICK, referenceTo, signal } from './testing/clients.ts';
import { partOf, startWeb, type WebAnswer } from './testing/web.ts';

const manifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
const digest = sha256Digest(manifest);
const good: WebAnswer = {
  status: 200,
  body: manifest,
  headers: { 'content-type': MEDIA_TYPE.ociManifest, 'docker-content-digest': digest },
};
const { bytes: blob, digest: blobDigest } = blobOf(300_000);

describe('requests', () => {
  it('are repeated after 408, 429 and 5xx, but not after 501 or 404', async (t) => {
    for (const status of [408, 429, 500, 502, 503, 504]) {
      const web = await startWeb(t, (_, number) => (number < 3 ? { status } : good));
      assert.equal((await client(t).client.fetchManifest(referenceTo(web.host), '1.0', signal)).descriptor.digest, digest);
      assert.equal(web.seen.length, 3);
    }
    for (const [status, code] of [
      [501, 'UNAVAILABLE'],
      [404, 'NOT_FOUND'],
    ] as const) {
      const web = await startWeb(t, () => ({ status }));
      await assert.rejects(client(t).client.fetchManifest(referenceTo(web.host), '1.0', signal), { code });
      assert.equal(web.seen.length, 1);
    }
  });

  it('wait as long as Retry-After says, in seconds or as a date, but not longer than the longest wait', async (t) => {
    const waits: number[] = [];
    const wallMs = Date.parse('2026-01-01T00:00:00Z');
    const clock = { ...SYSTEM_CLOCK, wallMs: () => wallMs, sleep: (ms: number) => Promise.resolve(void waits.push(ms)) };
    const values = ['7', 'Thu, 01 Jan 2026 00:00:09 GMT', '86400', 'rubbish'];
    const web = await startWeb(t, (_, number) =>
      number <= values.length ? { status: 429, headers: { 'retry-after': values[number - 1]! } } : good,
    );
    await client(t, { clock, http: { maxRetries: 8, maxWaitMs: 60_000 } }).client.fetchManifest(referenceTo(web.host), '1.0', signal);
    assert.deepEqual(waits.slice(0, 3), [7_000, 9_000, 60_000]);
    assert.ok((waits[3] ?? Infinity) <= 8);
  });

  it('say RATE_LIMITED when it does not end, and never log in for it', async (t) => {
    const web = await startWeb(t, () => ({ status: 429, body: '{"errors":[{"code":"TOOMANYREQUESTS","message":"secret"}]}' }));
    await assert.rejects(client(t).client.fetchManifest(referenceTo(web.host), '1.0', signal), {
      code: 'RATE_LIMITED',
      message: `GET manifest team/app:1.0 at ${web.host}: answered 429 TOOMANYREQUESTS`,
    });
    assert.equal(web.seen.length, QUICK.maxRetries + 1);
  });

  it('end with TIMEOUT when no head comes', async (t) => {
    const web = await startWeb(t, () => ({ kind: 'hang' }));
    const startedMs = performance.now();
    await assert.rejects(client(t, { http: { maxRetries: -1 } }).client.fetchManifest(referenceTo(web.host), '1.0', signal), {
      code: 'TIMEOUT',
    });
    assert.ok(performance.now() - startedMs < 3_000);
  });

  it('end with TIMEOUT when the whole takes too long, however steadily it drips', async (t) => {
    const web = await startWeb(t, () => ({ kind: 'stall', status: 200, headers: { 'content-length': '10' }, body: Buffer.from('x') }));
    const { client: subject } = client(t, { http: { maxRetries: -1, bodyStallTimeoutMs: 60_000, requestTimeoutMs: 200 } });
    await assert.rejects(bytesOf(subject.fetchBlob(referenceTo(web.host), { digest: blobDigest, size: 10 }, signal)), { code: 'TIMEOUT' });
  });

  it('name method, object and host when nobody listens', async (t) => {
    const { client: subject } = client(t);
    await assert.rejects(subject.fetchManifest(referenceTo('127.0.0.1:1'), '1.0', signal), {
      code: 'UNREACHABLE',
      message: /^GET manifest team\/app:1\.0 at 127\.0\.0\.1:1: cannot reach 127\.0\.0\.1:1$/,
    });
  });

  it('do not repeat for a host that does not exist', async (t) => {
    const { client: subject, lines } = client(t);
    await assert.rejects(subject.fetchManifest(referenceTo('registry.invalid'), '1.0', signal), {
      code: /UNREACHABLE|TIMEOUT/,
      message: /registry\.invalid/,
    });
    if (lines.length > 0) assert.doesNotMatch(lines.join(), /ENOTFOUND/); // a machine without a resolver says EAI_AGAIN, which may pass
  });

  it('refuse redirects in a circle, to other schemes and with user information', async (t) => {
    for (const location of ['/v2/team/app/manifests/1.0', 'ftp://x.example/', 'http://u:p@127.0.0.1:1/', '']) {
      const web = await startWeb(t, () => ({ status: 307, headers: { location } }));
      await assert.rejects(client(t).client.fetchManifest(referenceTo(web.host), '1.0', signal), (error: Error) => {
        assert.ok('code' in error && error.code === 'REDIRECT_REFUSED');
        assert.doesNotMatch(error.message, /u:p/);
        return true;
      });
      assert.ok(web.seen.length <= 6);
    }
  });
});

describe('manifests', () => {
  it('by digest are checked', async (t) => {
    const web = await startWeb(t, () => ({ ...good, body: '{}' }));
    await assert.rejects(client(t).client.fetchManifest(referenceTo(web.host), digest, signal), { code: 'DIGEST_MISMATCH' });
    await assert.rejects(client(t).client.fetchManifest(referenceTo(web.host), '1.0', signal), { code: 'DIGEST_MISMATCH' });
  });

  it('by a digest of another algorithm are checked by that', async (t) => {
    const other = `sha512:${createHash('sha512').update(manifest).digest('hex')}`;
    const web = await startWeb(t, () => ({ status: 200, body: manifest }));
    const { descriptor } = await client(t).client.fetchManifest(referenceTo(web.host), other, signal);
    assert.deepEqual(descriptor, { mediaType: MEDIA_TYPE.ociManifest, digest: other, size: manifest.length });
  });

  it('of more than 4 MiB are not taken', async (t) => {
    const web = await startWeb(t, () => ({ status: 200, body: Buffer.alloc(4 * 1024 * 1024 + 1) }));
    await assert.rejects(client(t).client.fetchManifest(referenceTo(web.host), '1.0', signal), { code: 'TOO_LARGE' });
  });

  it('are resolved by HEAD, and by GET where HEAD is refused or silent', async (t) => {
    const head = { 'content-type': MEDIA_TYPE.ociManifest, 'content-length': String(manifest.length) };
    for (const [answer, methods] of [
      [{ status: 200, headers: { ...head, 'docker-content-digest': digest } }, ['HEAD']],
      [{ status: 200, headers: head }, ['HEAD', 'GET']],
      [{ status: 403 }, ['HEAD', 'GET']],
      [{ status: 405 }, ['HEAD', 'GET']],
    ] as [WebAnswer, string[]][]) {
      const web = await startWeb(t, ({ method }) => (method === 'HEAD' ? answer : good));
      assert.deepEqual(await client(t).client.resolve(referenceTo(web.host), signal), {
        mediaType: MEDIA_TYPE.ociManifest,
        digest,
        size: manifest.length,
      });
      assert.deepEqual(
        web.seen.map(({ method }) => method),
        methods,
      );
    }
  });
});

describe('fetchBlob', () => {
  it('takes up a body that broke off, and checks the whole', async (t) => {
    const web = await startWeb(t, ({ headers }, number): WebAnswer => {
      const whole = partOf(blob, headers.range);
      return number > 1
        ? whole
        : { kind: 'break', status: 200, headers: whole.headers as Record<string, string>, body: blob.subarray(0, 100_000) };
    });
    assert.deepEqual(
      await bytesOf(client(t).client.fetchBlob(referenceTo(web.host), { digest: blobDigest, size: blob.length }, signal)),
      blob,
    );
    assert.equal(web.seen[1]?.headers.range, 'bytes=100000-');
  });

  it('throws before the last piece when a byte is wrong, so that nobody ends up with all of it', async (t) => {
    const wrong = Buffer.from(blob);
    wrong[5] = (wrong[5] ?? 0) ^ 1;
    const web = await startWeb(t, () => partOf(wrong, undefined));
    let received = 0;
    await assert.rejects(
      async () => {
        for await (const chunk of client(t).client.fetchBlob(referenceTo(web.host), { digest: blobDigest, size: blob.length }, signal))
          received += chunk.length;
      },
      { code: 'DIGEST_MISMATCH' },
    );
    assert.ok(received < blob.length);
  });

  for (const [name, size] of [
    ['longer', 100],
    ['shorter', blob.length + 1],
  ] as const) {
    it(`throws when the blob is ${name} than its descriptor says`, async (t) => {
      const web = await startWeb(t, () => partOf(blob, undefined));
      await assert.rejects(bytesOf(client(t).client.fetchBlob(referenceTo(web.host), { digest: blobDigest, size }, signal)), {
        code: 'SIZE_MISMATCH',
      });
    });
  }
});

describe('hasBlob', () => {
  it('takes a redirect for yes', async (t) => {
    for (const [answer, want] of [
      [{ status: 200 }, true],
      [{ status: 307, headers: { location: 'https://storage.example/?sig=x' } }, true],
      [{ status: 404 }, false],
    ] as [WebAnswer, boolean][]) {
      const web = await startWeb(t, () => answer);
      assert.equal(await client(t).client.hasBlob(referenceTo(web.host), blobDigest, signal), want);
    }
  });
});

describe('referrers', () => {
  const type = 'application/vnd.amazon.soci.index.v1+json';
  const indexOf = (...names: string[]): string =>
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociIndex,
      manifests: names.map((name) => ({
        mediaType: MEDIA_TYPE.ociManifest,
        digest: `sha256:${name.repeat(64)}`,
        size: 1,
        artifactType: name === 'f' ? 'other' : type,
      })),
    });
  const headers = { 'content-type': MEDIA_TYPE.ociIndex };

  it('are read page by page and filtered', async (t) => {
    const web = await startWeb(t, ({ path }) =>
      path.includes('last=')
        ? { status: 200, headers, body: indexOf('c') }
        : { status: 200, headers: { ...headers, link: '</v2/team/app/referrers/x?last=b>; rel="next"' }, body: indexOf('a', 'f') },
    );
    const found = await client(t).client.referrers(referenceTo(web.host), digest, type, signal);
    assert.deepEqual(
      found.map(({ digest: one }) => one[7]),
      ['a', 'c'],
    );
    assert.ok(web.seen[0]?.path.endsWith(`/referrers/${digest}?artifactType=${encodeURIComponent(type)}`));
  });

  for (const status of [404, 405, 501, 200]) {
    it(`are read from the tag where the API answers ${status} and no index`, async (t) => {
      const web = await startWeb(t, ({ path }) =>
        path.includes('/referrers/') ? { status, body: 'hello' } : { status: 200, headers, body: indexOf('a', 'f') },
      );
      const found = await client(t).client.referrers(referenceTo(web.host), digest, type, signal);
      assert.deepEqual(
        found.map(({ digest: one }) => one[7]),
        ['a'],
      );
      assert.equal(web.seen[1]?.path, `/v2/team/app/manifests/${digest.replace(':', '-')}`);
    });
  }

  it('are none where neither is there', async (t) => {
    const web = await startWeb(t, () => ({ status: 404 }));
    assert.deepEqual(await client(t).client.referrers(referenceTo(web.host), digest, type, signal), []);
  });

  it('end somewhere', async (t) => {
    const web = await startWeb(t, ({ path }) => ({
      status: 200,
      headers: { ...headers, link: `<${path}x>; rel="next"` },
      body: indexOf('a'),
    }));
    await assert.rejects(client(t).client.referrers(referenceTo(web.host), digest, type, signal), { code: 'TOO_LARGE' });
  });
});
