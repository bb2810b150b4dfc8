import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { encodeIndex, MEDIA_TYPE, sha256Digest } from '@soci/image';
import { basic, identityToken, type Answer, type CredentialSource } from '@soci/keychain';
import { freePort } from '@soci/testing';
import type { RegistryClientOptions } from './registry-client.ts';
import { blobOf, bytesOf, client, referenceTo, signal } from './testing/clients.ts';
import { GIVEN, startGuarded } from './testing/guarded-registry.ts';
import { clockOf, hostsIn, mirror } from './testing/hosts.ts';
import { partOf, startWeb, type Web, type WebAnswer } from './testing/web.ts';

const manifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
const digest = sha256Digest(manifest);
const MANIFEST: WebAnswer = {
  status: 200,
  body: manifest,
  headers: { 'content-type': MEDIA_TYPE.ociManifest, 'docker-content-digest': digest },
};
const { bytes: blob, digest: blobDigest } = blobOf(300_000);
const REPOSITORY = 'team/app';
const BASIC = { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } } as const;

function reference(): ReturnType<typeof referenceTo> {
  return referenceTo('registry.test');
}

/** A client for `registry.test`, whose hosts.toml has these hosts; the last is its server. */
async function clientOf(t: TestContext, hosts: readonly string[], options: Partial<RegistryClientOptions> = {}) {
  const server = hosts.at(-1) ?? '';
  const toml = `server = "${server}"\n${hosts
    .slice(0, -1)
    .map((host) => (host.startsWith('[') ? host : `[host."${host}"]`))
    .join('\n')}\n`;
  const clock = options.clock === undefined ? {} : { clock: options.clock };
  const { hosts: configured } = await hostsIn(t, { 'registry.test/hosts.toml': toml }, clock);
  return client(t, { ...options, hosts: configured });
}

function paths({ seen }: Web): string[] {
  return seen.map(({ method, path }) => `${method} ${path}`);
}

function header(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** Gives everybody a user named after the host he is asked for. */
const byHost: CredentialSource & { readonly asked: string[] } = {
  name: 'test',
  asked: [],
  resolve({ host }): Promise<Answer> {
    this.asked.push(host);
    return Promise.resolve({
      kind: 'candidates',
      source: 'test',
      candidates: [{ credential: basic(host.replaceAll(/\W/g, '-'), 'pw'), entry: host }],
    });
  },
};

describe('hosts of a registry', () => {
  it('are asked in order, and mirrors are told for whom', async (t) => {
    const origin = await startWeb(t, () => MANIFEST);
    const second = await startWeb(t, () => MANIFEST);
    const first = await startWeb(t, () => ({ status: 404 }));
    const { client: subject } = await clientOf(t, [`${first.origin}/x`, second.origin, origin.origin]);
    await subject.fetchManifest(reference(), '1.0', signal);
    assert.deepEqual(paths(first), [`GET /x/v2/${REPOSITORY}/manifests/1.0?ns=registry.test`]);
    assert.deepEqual(paths(second), [`GET /v2/${REPOSITORY}/manifests/1.0?ns=registry.test`]);
    assert.equal(origin.seen.length, 0);
  });

  for (const [name, answer] of [
    ['has it not', { status: 404 }],
    ['refuses', { status: 403 }],
    ['asks for a login that there is none for', BASIC],
    ['asks in a way nobody can answer', { status: 401, headers: { 'www-authenticate': 'Negotiate' } }],
    ['is in trouble', { status: 503 }],
    ['has had enough', { status: 429 }],
    ['does not answer', { kind: 'hang' }],
    ['leads in circles', { status: 307, headers: { location: '/v2/x' } }],
  ] as [string, WebAnswer][]) {
    it(`give way to the next when one ${name}, after one attempt`, async (t) => {
      const origin = await startWeb(t, ({ path, headers }) => (path.includes('/manifests/') ? MANIFEST : partOf(blob, headers.range)));
      const first = await startWeb(t, () => answer);
      const { client: subject } = await clientOf(t, [first.origin, origin.origin]);
      assert.equal((await subject.fetchManifest(reference(), '1.0', signal)).descriptor.digest, digest);
      assert.deepEqual(
        await bytesOf(subject.readBlobRange(reference(), blobDigest, { offsetBytes: 7, lengthBytes: 9 }, signal)),
        blob.subarray(7, 16),
      );
      assert.ok(first.seen.length <= 12, `${first.seen.length} requests`);
      assert.equal(origin.seen.length, 2);
    });
  }

  it('give way to the next when one ignores ranges, and when nobody listens', async (t) => {
    const origin = await startWeb(t, ({ headers }) => partOf(blob, headers.range));
    const whole = await startWeb(t, () => ({ status: 200, body: blob, headers: { 'content-length': String(blob.length) } }));
    const { client: subject, lines } = await clientOf(t, [`http://127.0.0.1:${await freePort()}`, whole.origin, origin.origin]);
    assert.deepEqual(
      await bytesOf(subject.readBlobRange(reference(), blobDigest, { offsetBytes: 7, lengthBytes: 9 }, signal)),
      blob.subarray(7, 16),
    );
    assert.match(lines.join(), /registry host fails, others are asked instead/);
  });

  it('say of the last one what it said, and of the others why they did not do', async (t) => {
    const first = await startWeb(t, () => ({ status: 503 }));
    const origin = await startWeb(t, () => ({ status: 404 }));
    const { client: subject } = await clientOf(t, [first.origin, origin.origin]);
    await assert.rejects(subject.fetchManifest(reference(), '1.0', signal), {
      code: 'NOT_FOUND',
      message: `GET manifest ${REPOSITORY}:1.0 at ${origin.host}: answered 404; ${first.host}: answered 503`,
    });
    assert.equal(await subject.hasBlob(reference(), blobDigest, signal), false);
    assert.equal(origin.seen.length, 2);
  });

  it('that does not answer is passed over for a while', async (t) => {
    const { clock, pass } = clockOf();
    const origin = await startWeb(t, ({ headers }) => partOf(blob, headers.range));
    const first = await startWeb(t, ({ headers }, number) => (number === 1 ? { kind: 'hang' } : partOf(blob, headers.range)));
    const { client: subject } = await clientOf(t, [first.origin, origin.origin], { clock });
    const read = (digestOf: string): Promise<Buffer> =>
      bytesOf(subject.readBlobRange(reference(), digestOf, { offsetBytes: 0, lengthBytes: 1 }, signal));
    for (let i = 0; i < 5; i++) await read(`sha256:${String(i).repeat(64)}`);
    assert.equal(first.seen.length, 1);
    assert.equal(origin.seen.length, 5);
    pass(15_001);
    await read(`sha256:${'6'.repeat(64)}`);
    assert.equal(first.seen.length, 2);
    assert.equal(origin.seen.length, 5);
  });

  it('that had a blob is stayed with, for a while', async (t) => {
    const { clock, pass } = clockOf();
    const origin = await startWeb(t, ({ headers }) => partOf(blob, headers.range));
    const second = await startWeb(t, ({ headers }) => partOf(blob, headers.range));
    const first = await startWeb(t, () => ({ status: 404 }));
    const { client: subject } = await clientOf(t, [first.origin, second.origin, origin.origin], { clock });
    const read = (offsetBytes: number): Promise<Buffer> =>
      bytesOf(subject.readBlobRange(reference(), blobDigest, { offsetBytes, lengthBytes: 1 }, signal));
    for (let i = 0; i < 5; i++) await read(i);
    assert.equal(first.seen.length, 1);
    assert.equal(second.seen.length, 5);
    pass(60_001);
    await read(5);
    assert.equal(first.seen.length, 2);
    assert.equal(origin.seen.length, 0);
  });

  it('take a read up where another broke off', async (t) => {
    const origin = await startWeb(t, ({ headers }) => partOf(blob, headers.range));
    const first = await startWeb(t, ({ headers }): WebAnswer => {
      const whole = partOf(blob, headers.range);
      return {
        kind: 'break',
        status: whole.status,
        headers: whole.headers as Record<string, string>,
        body: (whole.body as Uint8Array).subarray(0, 1000),
      };
    });
    const { client: subject } = await clientOf(t, [first.origin, origin.origin]);
    const range = { offsetBytes: 100, lengthBytes: 200_000 };
    assert.deepEqual(await bytesOf(subject.readBlobRange(reference(), blobDigest, range, signal)), blob.subarray(100, 200_100));
    assert.deepEqual(
      [first, origin].map(({ seen }) => seen.map(({ headers }) => headers.range)),
      [['bytes=100-200099'], ['bytes=1100-200099']],
    );
    const again = await clientOf(t, [first.origin, origin.origin]);
    assert.deepEqual(await bytesOf(again.client.fetchBlob(reference(), { digest: blobDigest, size: blob.length }, signal)), blob);
    assert.equal(origin.seen.at(-1)?.headers.range, 'bytes=1000-');
  });

  it('are asked for what they are capable of, and for nothing else', async (t) => {
    const origin = await startWeb(t, ({ path }) => (path.includes('/referrers/') ? { status: 404 } : MANIFEST));
    const first = await startWeb(t, () => MANIFEST);
    const { client: subject } = await clientOf(t, [`[host."${first.origin}"]\ncapabilities = ["pull"]`, origin.origin]);
    await subject.fetchManifest(reference(), '1.0', signal);
    assert.equal(first.seen.length, 0, 'no tag from a host that may not resolve');
    await subject.fetchManifest(reference(), digest, signal);
    await subject.hasBlob(reference(), blobDigest, signal);
    assert.equal(first.seen.length, 2);
    await assert.rejects(subject.referrers(reference(), digest, 'x', signal), { code: 'PROTOCOL' });
    assert.equal(first.seen.length, 2);
    await assert.rejects(client(t, { hosts: { hostsFor: () => Promise.resolve([]) } }).client.fetchManifest(reference(), '1.0', signal), {
      code: 'NOT_FOUND',
      message: /no host is configured for registry\.test that may be asked to pull and resolve/,
    });
  });

  it('are tried for referrers until one has the API', async (t) => {
    const index = JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociIndex,
      manifests: [{ mediaType: MEDIA_TYPE.ociManifest, digest, size: 3, artifactType: 'x' }],
    });
    const origin = await startWeb(t, () => ({ status: 200, body: index, headers: { 'content-type': MEDIA_TYPE.ociIndex } }));
    const old = await startWeb(t, () => ({ status: 404 }));
    const page = await startWeb(t, () => ({ status: 200, body: '<html>', headers: { 'content-type': 'text/html' } }));
    const { client: subject } = await clientOf(t, [old.origin, page.origin, origin.origin]);
    assert.equal((await subject.referrers(reference(), digest, 'x', signal)).length, 1);
  });

  it('are pushed to at the first that may be, from begin to end', async (t) => {
    const { bytes, digest: pushed } = blobOf(100);
    const push = ({ method, path }: { method: string; path: string }): WebAnswer => {
      if (method === 'HEAD') return { status: 404 };
      if (method === 'POST') return { status: 202, headers: { location: `/v2/up/1?state=${path.length}` } };
      return { status: 201 };
    };
    const origin = await startWeb(t, push);
    const second = await startWeb(t, push);
    const first = await startWeb(t, push);
    const { client: subject } = await clientOf(t, [
      `[host."${first.origin}"]\ncapabilities = ["pull", "resolve"]`,
      second.origin,
      origin.origin,
    ]);
    await subject.pushBlob(reference(), { digest: pushed, size: 100 }, bytes, signal);
    const index = encodeIndex({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [] });
    await subject.pushManifest(reference(), index, MEDIA_TYPE.ociIndex, '1.0', signal);
    assert.equal(first.seen.length + origin.seen.length, 0);
    assert.deepEqual(
      second.seen.map(({ method, path }) => `${method} ${path.split('?')[0]}`),
      [
        `HEAD /v2/${REPOSITORY}/blobs/${pushed}`,
        `POST /v2/${REPOSITORY}/blobs/uploads/`,
        'PUT /v2/up/1',
        `PUT /v2/${REPOSITORY}/manifests/1.0`,
      ],
    );
    assert.match(second.seen[2]?.path ?? '', /\?state=[0-9]+&digest=sha256%3A[0-9a-f]+&ns=registry\.test$/);
  });

  it('are not asked on after the caller gave up', async (t) => {
    const origin = await startWeb(t, () => MANIFEST);
    const first = await startWeb(t, () => ({ kind: 'hang' }));
    const { client: subject } = await clientOf(t, [first.origin, origin.origin]);
    const giveUp = new AbortController();
    setTimeout(() => giveUp.abort(new Error('enough')), 50);
    await assert.rejects(subject.fetchManifest(reference(), '1.0', giveUp.signal), /enough/);
    assert.equal(origin.seen.length, 0);
  });

  it('may be mirrors of config.toml alone', async (t) => {
    const origin = await startWeb(t, () => MANIFEST);
    const first = await startWeb(t, ({ path }) => (path.startsWith('/cache/') ? MANIFEST : { status: 404 }));
    const mirrors = { [origin.host]: { mirrors: [mirror(`${first.origin}/cache`)] } };
    const { hosts } = await hostsIn(t, {}, { mirrors });
    const { client: subject } = client(t, { hosts });
    await subject.fetchManifest(referenceTo(origin.host), '1.0', signal);
    assert.deepEqual(paths(first), [`GET /cache/${REPOSITORY}/manifests/1.0`]);
    assert.equal(origin.seen.length, 0);
  });
});

describe('credentials of a mirror', () => {
  it('are those of its own host, or of the registry where that is configured', async (t) => {
    const guard = ({ headers }: { headers: { authorization?: string | undefined } }): WebAnswer =>
      headers.authorization === undefined ? BASIC : MANIFEST;
    for (const credentials of ['mirror', 'origin'] as const) {
      const first = await startWeb(t, guard);
      const { client: subject } = await clientOf(t, [`[host."${first.origin}"]\ncredentials = "${credentials}"`, 'https://registry.test'], {
        credentials: byHost,
      });
      await subject.fetchManifest(reference(), '1.0', signal);
      const host = credentials === 'mirror' ? first.host : 'registry.test';
      assert.equal(byHost.asked.at(-1), host);
      assert.equal(first.seen.at(-1)?.headers.authorization, header(host.replaceAll(/\W/g, '-'), 'pw'));
      const origin = await startWeb(t, () => MANIFEST);
      const { hosts } = await hostsIn(t, {}, { mirrors: { [origin.host]: { mirrors: [mirror(first.host, { credentials })] } } });
      await client(t, { hosts, credentials: byHost }).client.fetchManifest(referenceTo(origin.host), '1.0', signal);
      assert.equal(byHost.asked.at(-1), credentials === 'mirror' ? first.host : origin.host);
    }
  });

  it('are not shown to the registry, nor those of the registry to the mirror', async (t) => {
    const origin = await startWeb(t, ({ headers }) => (headers.authorization === undefined ? BASIC : MANIFEST));
    const first = await startWeb(t, ({ headers }) => (headers.authorization === undefined ? BASIC : { status: 404 }));
    const { client: subject } = await clientOf(t, [first.origin, origin.origin], { credentials: byHost });
    for (let i = 0; i < 2; i++) await subject.fetchManifest(reference(), '1.0', signal);
    for (const { seen, host } of [first, origin])
      assert.deepEqual(
        new Set(seen.map(({ headers }) => headers.authorization)),
        new Set([undefined, header(host.replaceAll(/\W/g, '-'), 'pw')]),
      );
  });

  it('that are not ready are waited for, whatever the registry says', async (t) => {
    const origin = await startWeb(t, () => ({ status: 404 }));
    const first = await startWeb(t, () => BASIC);
    const credentials: CredentialSource = { name: 'k8s', resolve: () => Promise.resolve({ kind: 'not-ready', reason: 'not synced yet' }) };
    const { client: subject } = await clientOf(t, [first.origin, origin.origin], { credentials });
    await assert.rejects(subject.fetchManifest(reference(), '1.0', signal), {
      code: 'CREDENTIALS_NOT_READY',
      message: /not synced yet; 127.*answered 404/,
    });
  });

  it('are no identity token where the registry is spoken to in clear text', async (t) => {
    const { registry, tokens } = await startGuarded(t);
    const proxy = { httpProxy: `http://${registry.host}` }; // so that a name that is not this machine's leads to it
    const { client: subject } = await clientOf(t, ['http://registry.test'], {
      proxy,
      credentials: {
        name: 'x',
        resolve: () =>
          Promise.resolve({ kind: 'candidates', source: 'x', candidates: [{ credential: identityToken('rt-1'), entry: 'e' }] }),
      },
    });
    await assert.rejects(subject.fetchManifest(reference(), '1.0', signal), {
      code: 'UNAUTHORIZED',
      message: /x \(e\): an identity token is not used for a registry that is spoken to in clear text/,
    });
    assert.equal(tokens.seen.length, 0);
  });
});

describe('headers of a host', () => {
  it('go with every request to it, to its own token server too, and to nobody else', async (t) => {
    const storage = await startWeb(t, ({ headers }) => partOf(blob, headers.range));
    const tokens = await startWeb(t, () => ({ status: 200, body: '{"token":"t"}' }));
    const origin = await startWeb(t, ({ headers, path }) => {
      if (path.startsWith('/own-token')) return { status: 200, body: '{"token":"t"}' };
      if (headers.authorization?.startsWith('Bearer') === true) return { status: 307, headers: { location: `${storage.origin}/blob` } };
      const realm = path.includes('own') ? `${origin.origin}/own-token` : `${tokens.origin}/token`;
      return { status: 401, headers: { 'www-authenticate': `Bearer realm="${realm}"` } };
    });
    const toml = `[host."${origin.origin}"]\n[host."${origin.origin}".header]\nX-Team = "blue"\nUser-Agent = "special"\nAccept-Encoding = "br"\n`;
    const { hosts } = await hostsIn(t, { 'registry.test/hosts.toml': toml });
    const { client: subject } = client(t, { hosts });
    for (const repository of ['team/app', 'own/app']) {
      const read = subject.readBlobRange(referenceTo('registry.test', repository), blobDigest, { offsetBytes: 0, lengthBytes: 5 }, signal);
      assert.deepEqual(await bytesOf(read), blob.subarray(0, 5));
    }
    assert.ok(origin.seen.length >= 5);
    for (const { headers, path } of origin.seen) {
      assert.equal(headers['x-team'], 'blue', path);
      assert.equal(headers['accept-encoding'], path.startsWith('/own-token') ? 'br' : 'identity');
    }
    assert.equal(origin.seen[0]?.headers['user-agent'], 'special');
    for (const { headers } of [...storage.seen, ...tokens.seen]) assert.equal(headers['x-team'], undefined);
    assert.equal(storage.seen.length, 2);
    assert.equal(tokens.seen.length, 1);
  });

  it('may be a login, which ours replaces where the host asks for one', async (t) => {
    const web = await startWeb(t, ({ headers }) => (headers.authorization === 'Basic c3BlY2lhbDpwdw==' ? GIVEN : BASIC));
    const { hosts } = await hostsIn(t, {
      'registry.test/hosts.toml': `server = "${web.origin}"\n[header]\nAuthorization = "Basic c3BlY2lhbDpwdw=="\n`,
    });
    assert.ok(await client(t, { hosts }).client.hasBlob(reference(), blobDigest, signal));
  });
});
