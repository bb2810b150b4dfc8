import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytesOf, blobOf, client, referenceTo, signal, QUICK } from './testing/clients.ts';
import { partOf, startWeb, type WebAnswer } from './testing/web.ts';

const { bytes: blob, digest } = blobOf(1_000_000);
const range = { offsetBytes: 1000, lengthBytes: 700_000 };
const wanted = blob.subarray(1000, 701_000);

describe('readBlobRange', () => {
  it('gives exactly the bytes asked for, one request a range', async (t) => {
    const web = await startWeb(t, ({ headers }) => partOf(blob, headers.range));
    const { client: subject } = client(t);
    const reference = referenceTo(web.host);
    assert.deepEqual(await bytesOf(subject.readBlobRange(reference, digest, range, signal)), wanted);
    assert.deepEqual(
      await bytesOf(subject.readBlobRange(reference, digest, { offsetBytes: 999_999, lengthBytes: 1 }, signal)),
      blob.subarray(999_999),
    );
    assert.deepEqual(
      web.seen.map(({ headers }) => headers.range),
      ['bytes=1000-700999', 'bytes=999999-999999'],
    );
    assert.deepEqual(subject.stats.get(web.host), { requests: 2, bytes: 700_001 });
  });

  const wrong: [string, WebAnswer][] = [
    ['another range', partOf(blob, 'bytes=0-699999')],
    ['less than the range', partOf(blob, 'bytes=1000-1999')],
    ['no Content-Range', { status: 206, body: wanted }],
    ['two ranges', { status: 206, body: wanted, headers: { 'content-range': 'bytes 1000-700999/*, 1-2/*' } }],
    ['the whole blob', { status: 200, body: blob }],
    ['200 with as many bytes as asked for', { status: 200, body: wanted }],
    ['416', { status: 416 }],
  ];
  for (const [name, answer] of wrong) {
    it(`refuses ${name}`, async (t) => {
      const web = await startWeb(t, () => answer);
      const { client: subject } = client(t);
      await assert.rejects(bytesOf(subject.readBlobRange(referenceTo(web.host), digest, range, signal)), { code: 'RANGE_REFUSED' });
      assert.equal(web.seen.length, 1);
    });
  }

  it('takes a 200 for a range that is the whole blob', async (t) => {
    const web = await startWeb(t, () => ({ status: 200, body: blob, headers: { 'content-length': String(blob.length) } }));
    const { client: subject } = client(t);
    assert.deepEqual(
      await bytesOf(subject.readBlobRange(referenceTo(web.host), digest, { offsetBytes: 0, lengthBytes: blob.length }, signal)),
      blob,
    );
  });

  for (const kind of ['break', 'stall'] as const) {
    it(`asks for the rest when the body ${kind}s off`, async (t) => {
      const web = await startWeb(t, ({ headers }, number): WebAnswer => {
        const whole = partOf(blob, headers.range);
        return number > 2
          ? whole
          : { kind, status: 206, headers: whole.headers as Record<string, string>, body: (whole.body as Uint8Array).subarray(0, 1000) };
      });
      const { client: subject, lines } = client(t);
      assert.deepEqual(await bytesOf(subject.readBlobRange(referenceTo(web.host), digest, range, signal)), wanted);
      assert.deepEqual(
        web.seen.map(({ headers }) => headers.range),
        ['bytes=1000-700999', 'bytes=2000-700999', 'bytes=3000-700999'],
      );
      assert.match(lines.join('\n'), /will retry/);
    });
  }

  it('gives up when no attempt gets on', async (t) => {
    const web = await startWeb(
      t,
      ({ headers }): WebAnswer => ({
        kind: 'break',
        status: 206,
        headers: partOf(blob, headers.range).headers as Record<string, string>,
        body: Buffer.alloc(0),
      }),
    );
    const { client: subject } = client(t);
    await assert.rejects(bytesOf(subject.readBlobRange(referenceTo(web.host), digest, range, signal)), {
      code: 'UNREACHABLE',
      message: /team\/app@sha256:.*broke off at 1000/,
    });
    assert.equal(web.seen.length, QUICK.maxRetries + 1);
  });

  it('refuses more bytes than asked for', async (t) => {
    const web = await startWeb(t, () => ({
      status: 206,
      body: blob,
      headers: { 'content-range': 'bytes 1000-700999/1000000', 'transfer-encoding': 'chunked' },
    }));
    const { client: subject } = client(t);
    await assert.rejects(bytesOf(subject.readBlobRange(referenceTo(web.host), digest, range, signal)), { code: 'RANGE_REFUSED' });
  });

  it('goes to the storage directly once it knows the address, and asks the registry again when that is refused', async (t) => {
    let signature = 1;
    const storage = await startWeb(t, ({ path, headers }) =>
      path === `/blob?sig=${signature}` ? partOf(blob, headers.range) : { status: 403, body: '<Error/>' },
    );
    const registry = await startWeb(t, () => ({ status: 307, headers: { location: `${storage.origin}/blob?sig=${signature}` } }));
    const { client: subject, lines } = client(t);
    const read = async (): Promise<void> =>
      assert.deepEqual(await bytesOf(subject.readBlobRange(referenceTo(registry.host), digest, range, signal)), wanted);
    await read();
    await read();
    assert.deepEqual([registry.seen.length, storage.seen.length], [1, 2]);
    signature = 2;
    await read();
    assert.deepEqual([registry.seen.length, storage.seen.length], [2, 4]);
    assert.doesNotMatch(lines.join(), /sig=/);
  });

  it('asks the registry for another address when the storage does not answer', async (t) => {
    const first = await startWeb(t, ({ headers }, number) => (number === 1 ? partOf(blob, headers.range) : { kind: 'hang' }));
    const second = await startWeb(t, ({ headers }) => partOf(blob, headers.range));
    const registry = await startWeb(t, (_, number) => ({
      status: 307,
      headers: { location: `${number === 1 ? first.origin : second.origin}/blob` },
    }));
    const { client: subject } = client(t);
    const read = (): Promise<Buffer> => bytesOf(subject.readBlobRange(referenceTo(registry.host), digest, range, signal));
    assert.deepEqual(await read(), wanted);
    assert.deepEqual(await read(), wanted);
    assert.deepEqual([first.seen.length, second.seen.length, registry.seen.length], [2, 1, 2]);
  });

  it('ends at once when the caller does, before an answer and in the middle of a body', async (t) => {
    const web = await startWeb(t, ({ headers }, number): WebAnswer => {
      const whole = partOf(blob, headers.range);
      return number === 1
        ? { kind: 'hang' }
        : { kind: 'stall', status: 206, headers: whole.headers as Record<string, string>, body: blob.subarray(1000, 2000) };
    });
    const { client: subject } = client(t, { http: { responseHeaderTimeoutMs: 60_000, bodyStallTimeoutMs: 60_000 } });
    for (let i = 0; i < 2; i++) {
      const controller = new AbortController();
      const read = bytesOf(subject.readBlobRange(referenceTo(web.host), digest, range, controller.signal));
      setTimeout(() => controller.abort(new Error('read no longer wanted')), 50);
      await assert.rejects(read, /^Error: read no longer wanted$/);
    }
  });

  it('gives the connection back when the caller stops reading', async (t) => {
    const web = await startWeb(t, ({ headers }) => partOf(blob, headers.range));
    const { client: subject } = client(t, { http: { maxConnectionsPerHost: 1 } });
    for (let i = 0; i < 3; i++) {
      for await (const chunk of subject.readBlobRange(referenceTo(web.host), digest, range, signal)) {
        assert.ok(chunk.length > 0);
        break;
      }
    }
    assert.equal(web.seen.length, 3);
  });

  it('holds a fast sender back while the reader waits', async (t) => {
    const { bytes: large, digest: largeDigest } = blobOf(64 * 1024 * 1024);
    const web = await startWeb(t, ({ headers }) => partOf(large, headers.range));
    const { client: subject } = client(t);
    const reader = subject
      .readBlobRange(referenceTo(web.host), largeDigest, { offsetBytes: 0, lengthBytes: large.length }, signal)
      [Symbol.asyncIterator]();
    await reader.next();
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.ok((subject.stats.get(web.host)?.bytes ?? Infinity) < 2 * 1024 * 1024);
    let received = 0;
    for (let step = await reader.next(); step.done !== true; step = await reader.next()) received += step.value.length;
    assert.ok(received > 62 * 1024 * 1024);
  });
});
