import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256Digest } from '@soci/image';
import { blobOf, bytesOf, client, referenceTo, signal } from './testing/clients.ts';
import { partOf } from './testing/web.ts';

const { bytes: blob, digest } = blobOf(300_000);
const HTTP = { progressBytes: 10_000, progressMs: 150, bodyStallTimeoutMs: 1_000 };

interface Pace {
  readonly bytes: number;
  readonly everyMs: number;
}

/** Sends what is asked for at a pace that goes by the number of the request. */
async function slowServer(
  t: TestContext,
  content: Uint8Array,
  paceOf: (number: number) => Pace,
): Promise<{ host: string; seen: string[] }> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    const { status, headers, body } = partOf(content, request.headers.range);
    seen.push(request.headers.range ?? '');
    const { bytes, everyMs } = paceOf(seen.length);
    response.writeHead(status, headers as Record<string, string>);
    void (async () => {
      for (let at = 0; at < (body?.length ?? 0) && !response.destroyed; at += bytes) {
        response.write((body as Uint8Array).subarray(at, at + bytes));
        await sleep(everyMs);
      }
      response.end();
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

const TRICKLE: Pace = { bytes: 100, everyMs: 20 };
const AT_ONCE: Pace = { bytes: 1 << 20, everyMs: 0 };

describe('a body that trickles', () => {
  for (const [what, read] of [
    [
      'a range',
      (subject: ReturnType<typeof client>['client'], host: string) =>
        bytesOf(subject.readBlobRange(referenceTo(host), digest, { offsetBytes: 0, lengthBytes: blob.length - 1 }, signal)),
    ],
    [
      'a blob',
      (subject: ReturnType<typeof client>['client'], host: string) =>
        bytesOf(subject.fetchBlob(referenceTo(host), { digest, size: blob.length }, signal)),
    ],
  ] as const) {
    it(`is taken up by another request: ${what}`, async (t) => {
      const { host, seen } = await slowServer(t, blob, (number) => (number === 1 ? TRICKLE : AT_ONCE));
      const { client: subject } = client(t, { http: HTTP });
      const begin = performance.now();
      const got = await read(subject, host);
      assert.deepEqual(got, blob.subarray(0, got.length));
      assert.equal(seen.length, 2);
      assert.match(seen[1] ?? '', /^bytes=[1-9]\d*00-/, 'from where the first one was');
      assert.ok(performance.now() - begin < 1_000);
    });
  }

  it('ends after as many requests as are allowed, however many bytes came', async (t) => {
    const { host, seen } = await slowServer(t, blob, () => TRICKLE);
    const { client: subject } = client(t, { http: { ...HTTP, maxRetries: 2 } });
    await assert.rejects(bytesOf(subject.readBlobRange(referenceTo(host), digest, { offsetBytes: 0, lengthBytes: 200_000 }, signal)), {
      code: 'TIMEOUT',
      message: /less than 10000 bytes/,
    });
    assert.equal(seen.length, 3);
  });

  it('is no failure where its reader is the slow one', async (t) => {
    const { bytes, digest: large } = blobOf(3_000_000);
    const { host, seen } = await slowServer(t, bytes, () => AT_ONCE);
    const { client: subject } = client(t, { http: HTTP });
    const got: Uint8Array[] = [];
    for await (const piece of subject.readBlobRange(referenceTo(host), large, { offsetBytes: 0, lengthBytes: bytes.length }, signal)) {
      got.push(piece);
      if (got.length === 3) await sleep(700);
    }
    assert.deepEqual(Buffer.concat(got), bytes);
    assert.equal(seen.length, 1);
  });
});

describe('a manifest whose body breaks off', () => {
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, layers: [], note: 'x'.repeat(5_000) }));

  it('is asked for again, and once more', async (t) => {
    let breaks = 2;
    const server = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json', 'content-length': manifest.length });
      if (breaks-- > 0) response.write(manifest.subarray(0, 100), () => response.socket?.destroySoon());
      else response.end(manifest);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { client: subject } = client(t);
    const reference = referenceTo(`127.0.0.1:${(server.address() as AddressInfo).port}`);
    assert.deepEqual(Buffer.from((await subject.fetchManifest(reference, sha256Digest(manifest), signal)).bytes), manifest);
    breaks = 3;
    await assert.rejects(subject.fetchManifest(reference, sha256Digest(manifest), signal), { code: 'UNREACHABLE' });
    assert.equal(breaks, 0);
  });
});
