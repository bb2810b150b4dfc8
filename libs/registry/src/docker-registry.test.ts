import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { encodeIndex, encodeManifest, MEDIA_TYPE, sha256Digest, type Descriptor, type ImageReference } from '@soci/image';
import { basic, identityToken } from '@soci/keychain';
import { Child, freePort, Registry } from '@soci/testing';
import type { RegistryClient } from './registry-client.ts';
import { blobOf, bytesOf, client, referenceTo, signal, sourceOf } from './testing/clients.ts';
import { startWeb, type Web } from './testing/web.ts';

const missing = ['docker-registry', 'htpasswd', 'openssl'].filter((program) => spawnSync('which', [program]).status !== 0);
const skip = missing.length > 0 && `not installed: ${missing.join(', ')}`;
const http = { responseHeaderTimeoutMs: 10_000, bodyStallTimeoutMs: 10_000, maxRetries: 3 };
const ARTIFACT = 'application/vnd.amazon.soci.index.v1+json';

async function tempDir(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'soci-registry-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Pushes an image of one layer, one thing that refers to it, and reads everything back. */
async function roundTrip(subject: RegistryClient, reference: ImageReference): Promise<void> {
  const { bytes: layer, digest } = blobOf(3_000_000);
  const config = Buffer.from('{"architecture":"amd64","os":"linux"}');
  const layerDescriptor = { mediaType: MEDIA_TYPE.ociLayerGzip, digest, size: layer.length };
  const configDescriptor = { mediaType: MEDIA_TYPE.ociConfig, digest: sha256Digest(config), size: config.length };
  assert.equal(await subject.hasBlob(reference, digest, signal), false);
  assert.equal(await subject.pushBlob(reference, layerDescriptor, layer, signal), 'pushed');
  assert.equal(await subject.pushBlob(reference, layerDescriptor, layer, signal), 'present');
  await subject.pushBlob(reference, configDescriptor, config, signal);
  const manifest = encodeManifest({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: configDescriptor,
    layers: [layerDescriptor],
  });
  const pushed = await subject.pushManifest(reference, manifest, MEDIA_TYPE.ociManifest, reference.tag, signal);
  assert.deepEqual(await subject.resolve(reference, signal), pushed);
  assert.ok(await subject.hasManifest(reference, pushed.digest, signal));
  assert.deepEqual(Buffer.from((await subject.fetchManifest(reference, pushed.digest, signal)).bytes), Buffer.from(manifest));
  assert.deepEqual(await bytesOf(subject.fetchBlob(reference, layerDescriptor, signal)), layer);
  assert.deepEqual(
    await bytesOf(subject.readBlobRange(reference, digest, { offsetBytes: 123_456, lengthBytes: 1_000_001 }, signal)),
    layer.subarray(123_456, 1_123_457),
  );
  await pushReferrer(subject, reference, configDescriptor, pushed);
}

async function pushReferrer(subject: RegistryClient, reference: ImageReference, layer: Descriptor, image: Descriptor): Promise<void> {
  const config = Buffer.from('{}');
  const configDescriptor = { mediaType: ARTIFACT, digest: sha256Digest(config), size: config.length };
  await subject.pushBlob(reference, configDescriptor, config, signal);
  const artifact = encodeManifest({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: configDescriptor,
    layers: [layer],
    subject: image,
  });
  const pushed = await subject.pushManifest(reference, artifact, MEDIA_TYPE.ociManifest, undefined, signal);
  assert.deepEqual(await subject.referrers(reference, image.digest, ARTIFACT, signal), [{ ...pushed, artifactType: ARTIFACT }]);
  assert.deepEqual(await subject.referrers(reference, image.digest, 'application/other', signal), []);
}

/** A registry that sends for tokens, and a token server that grants alice what she asks for and everybody else nothing. */
async function startTokenRegistry(t: TestContext): Promise<{ readonly host: string; readonly tokens: Web }> {
  const directory = await tempDir(t);
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      'key.pem',
      '-out',
      'cert.pem',
      '-subj',
      '/CN=tokens',
      '-days',
      '2',
    ],
    { cwd: directory, stdio: 'ignore' },
  );
  const key = createPrivateKey(await readFile(join(directory, 'key.pem')));
  const certificate = new X509Certificate(await readFile(join(directory, 'cert.pem'))).raw.toString('base64');
  const tokens = await startWeb(t, ({ method, path, headers, body }) => {
    const query = method === 'POST' ? new URLSearchParams(body.toString()) : new URL(path, 'http://x').searchParams;
    const isAlice =
      headers.authorization === `Basic ${Buffer.from('alice:pw').toString('base64')}` || query.get('refresh_token') === 'rt-alice';
    if (!isAlice && (headers.authorization !== undefined || method === 'POST')) return { status: 401 };
    const access = query
      .getAll('scope')
      .flatMap((scopes) => scopes.split(' '))
      .map((scope) => {
        const [type, name, actions = ''] = scope.split(':');
        return { type, name, actions: isAlice ? actions.split(',') : [] };
      });
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: 'tokens',
      sub: 'alice',
      aud: query.get('service'),
      exp: now + 300,
      nbf: now - 10,
      iat: now,
      jti: randomUUID(),
      access,
    };
    const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
    const signed = `${encode({ typ: 'JWT', alg: 'ES256', x5c: [certificate] })}.${encode(claims)}`;
    const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url');
    return { status: 200, body: JSON.stringify({ token: `${signed}.${signature}`, expires_in: 300 }) };
  });
  const host = `127.0.0.1:${await freePort()}`;
  const config = {
    version: '0.1',
    log: { level: 'info' },
    storage: { filesystem: { rootdirectory: join(directory, 'data') } },
    http: { addr: host },
    auth: {
      token: { realm: `${tokens.origin}/token`, service: 'test-registry', issuer: 'tokens', rootcertbundle: join(directory, 'cert.pem') },
    },
  };
  await writeFile(join(directory, 'config.yml'), JSON.stringify(config));
  const child = new Child('docker-registry', ['serve', join(directory, 'config.yml')], { logPath: join(directory, 'log') });
  t.after(() => child.stop());
  await child.ready(async () => (await fetch(`http://${host}/v2/`)).status === 401);
  return { host, tokens };
}

describe('docker-registry', { skip }, () => {
  for (const pushChunkBytes of [0, 1_000_000]) {
    it(`with a password: everything there and back, pushed in pieces of ${pushChunkBytes}`, async (t) => {
      const registry = await Registry.start({ directory: await tempDir(t), login: { username: 'alice', password: 'pw' } });
      t.after(() => registry[Symbol.asyncDispose]());
      await roundTrip(
        client(t, { credentials: sourceOf(basic('alice', 'pw')), http: { ...http, pushChunkBytes } }).client,
        referenceTo(registry.host),
      );
    });
  }

  it('with a wrong password: one clear message', async (t) => {
    const registry = await Registry.start({ directory: await tempDir(t), login: { username: 'alice', password: 'pw' } });
    t.after(() => registry[Symbol.asyncDispose]());
    const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'wrong-pw')), http });
    await assert.rejects(subject.resolve(referenceTo(registry.host), signal), {
      code: 'UNAUTHORIZED',
      message: `HEAD manifest team/app:1.0 at ${registry.host}: answered 401; docker-config (test)`,
    });
  });

  for (const [name, credential] of [
    ['a password', basic('alice', 'pw')],
    ['an identity token', identityToken('rt-alice')],
  ] as const) {
    it(`with tokens for ${name}: everything there and back, and a mount`, async (t) => {
      const { host, tokens } = await startTokenRegistry(t);
      const { client: subject } = client(t, { credentials: sourceOf(credential), http });
      const reference = referenceTo(host);
      await roundTrip(subject, reference);
      assert.ok(tokens.seen.length <= 2, 'one token to pull and one to push');
      const { digest } = blobOf(3_000_000);
      assert.equal(await subject.mountBlob(referenceTo(host, 'team/other'), digest, 'team/app', signal), true);
      assert.ok(await subject.hasBlob(referenceTo(host, 'team/other'), digest, signal));
      assert.equal(await subject.mountBlob(referenceTo(host, 'team/other'), `sha256:${'0'.repeat(64)}`, 'team/app', signal), false);
    });
  }

  it('with tokens, for nobody: an anonymous token is tried, and its lack of rights is told from a wrong password', async (t) => {
    const { host } = await startTokenRegistry(t);
    await assert.rejects(client(t, { http }).client.resolve(referenceTo(host), signal), {
      code: 'UNAUTHORIZED',
      message: /no credential \(asked: docker-config\)/,
    });
    await assert.rejects(client(t, { http, credentials: sourceOf(basic('alice', 'wrong')) }).client.resolve(referenceTo(host), signal), {
      code: 'UNAUTHORIZED',
      message: /docker-config \(test\): token server 127\.0\.0\.1:[0-9]+ answered 401/,
    });
  });

  it('takes an index', async (t) => {
    const registry = await Registry.start({ directory: await tempDir(t) });
    t.after(() => registry[Symbol.asyncDispose]());
    const { client: subject } = client(t, { http });
    const reference = referenceTo(registry.host);
    const index = encodeIndex({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [] });
    const pushed = await subject.pushManifest(reference, index, MEDIA_TYPE.ociIndex, 'index', signal);
    assert.equal((await subject.fetchManifest(reference, 'index', signal)).descriptor.digest, pushed.digest);
  });
});
