import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { encodeManifest, MEDIA_TYPE, sha256Digest } from '@soci/image';
import { basic, type CredentialSource } from '@soci/keychain';
import { Child, freePort, Registry, TokenServer } from '@soci/testing';
import { makeCertificates, withoutOpenssl } from './testing/certificates.ts';
import { blobOf, bytesOf, client, referenceTo, signal } from './testing/clients.ts';
import { hostsIn } from './testing/hosts.ts';

const missing = ['docker-registry', 'htpasswd'].filter((program) => spawnSync('which', [program]).status !== 0);
const skip = missing.length > 0 ? `not installed: ${missing.join(', ')}` : withoutOpenssl;
const none = { key: '', cert: '' };
const tls = skip === false ? makeCertificates() : { directory: '', ca: '', server: none, client: none };
const http = { responseHeaderTimeoutMs: 10_000, bodyStallTimeoutMs: 10_000 };
const BOB = ['bob', 'pw-of-bob'] as const;

/** docker-registry that sends for tokens, which alice gets: caches of it know no other login. */
async function startOrigin(t: TestContext): Promise<Registry> {
  const tokens = await TokenServer.start({ directory: await tempDir(t), users: { alice: 'pw-of-alice' } });
  t.after(() => tokens[Symbol.asyncDispose]());
  const origin = await Registry.start({ directory: await tempDir(t), tokens });
  t.after(() => origin[Symbol.asyncDispose]());
  return origin;
}

interface Cache {
  readonly host: string;
  /** What was asked, as `GET /v2/... 200`. */
  readonly asked: () => Promise<readonly string[]>;
  readonly stop: () => Promise<void>;
}

async function tempDir(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'soci-mirror-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** docker-registry as a cache of another, over TLS, for bob and for clients with a certificate. */
async function startCache(t: TestContext, origin: string): Promise<Cache> {
  const directory = await tempDir(t);
  const host = `127.0.0.1:${await freePort()}`;
  const passwords = join(directory, 'htpasswd');
  assert.equal(spawnSync('htpasswd', ['-Bbc', '-C', '5', passwords, ...BOB]).status, 0);
  const at = (name: string): string => join(tls.directory, name);
  const config = {
    version: '0.1',
    log: { level: 'info', accesslog: { disabled: false } },
    storage: { filesystem: { rootdirectory: join(directory, 'data') } },
    http: { addr: host, tls: { certificate: at('server.pem'), key: at('server.key'), clientcas: [at('ca.pem')] } },
    auth: { htpasswd: { realm: 'cache', path: passwords } },
    proxy: { remoteurl: `http://${origin}`, username: 'alice', password: 'pw-of-alice' },
  };
  await writeFile(join(directory, 'config.yml'), JSON.stringify(config));
  const logPath = join(directory, 'log');
  const child = new Child('docker-registry', ['serve', join(directory, 'config.yml')], { logPath });
  t.after(() => child.stop());
  await child.ready(async () => (await readFile(logPath, 'utf8')).includes('listening on'));
  const asked = async (): Promise<string[]> => {
    const lines = (await readFile(logPath, 'utf8')).matchAll(/^\S+ - \S+ \[[^\]]*\] "(\S+ \S+) HTTP\/1\.1" (\d+)/gm);
    return [...lines].map(([, request = '', status = '']) => `${request} ${status}`);
  };
  return { host, asked, stop: () => child.stop() };
}

function keyring(users: Readonly<Record<string, readonly [string, string]>>): CredentialSource {
  return {
    name: 'test',
    resolve: ({ host }) => {
      const [username, password] = users[host] ?? [];
      if (username === undefined || password === undefined) return Promise.resolve({ kind: 'none' });
      return Promise.resolve({ kind: 'candidates', source: 'test', candidates: [{ credential: basic(username, password), entry: host }] });
    },
  };
}

describe('a registry with a cache in front of it', { skip }, () => {
  it("is read through the cache with the cache's own login and certificate, pushed to directly, and read directly when the cache is away", async (t) => {
    const origin = await startOrigin(t);
    const cache = await startCache(t, origin.host);
    const toml = `[host."https://${cache.host}"]\ncapabilities = ["pull", "resolve"]\nca = "ca.pem"\nclient = [["client.pem", "client.key"]]\n`;
    const files = { 'hosts.toml': toml, 'ca.pem': tls.ca, 'client.pem': tls.client.cert, 'client.key': tls.client.key };
    const { hosts } = await hostsIn(t, Object.fromEntries(Object.entries(files).map(([name, text]) => [`${origin.host}/${name}`, text])));
    const credentials = keyring({ [origin.host]: ['alice', 'pw-of-alice'], [cache.host]: BOB });
    const { client: subject } = client(t, { hosts, credentials, http });
    const reference = referenceTo(origin.host);

    const { bytes: layer, digest } = blobOf(500_000);
    const config = Buffer.from('{}');
    const layerDescriptor = { mediaType: MEDIA_TYPE.ociLayerGzip, digest, size: layer.length };
    const configDescriptor = { mediaType: MEDIA_TYPE.ociConfig, digest: sha256Digest(config), size: config.length };
    for (const [descriptor, blob] of [
      [layerDescriptor, layer],
      [configDescriptor, config],
    ] as const)
      assert.equal(await subject.pushBlob(reference, descriptor, blob, signal), 'pushed');
    const manifest = encodeManifest({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      config: configDescriptor,
      layers: [layerDescriptor],
    });
    const pushed = await subject.pushManifest(reference, manifest, MEDIA_TYPE.ociManifest, '1.0', signal);
    assert.deepEqual(await cache.asked(), []);

    const readAll = async (): Promise<void> => {
      assert.equal((await subject.resolve(reference, signal)).digest, pushed.digest);
      assert.equal((await subject.fetchManifest(reference, pushed.digest, signal)).bytes.length, manifest.length);
      assert.deepEqual(await bytesOf(subject.fetchBlob(reference, configDescriptor, signal)), config);
      for (const offsetBytes of [1_000, 400_000])
        assert.deepEqual(
          await bytesOf(subject.readBlobRange(reference, digest, { offsetBytes, lengthBytes: 50_000 }, signal)),
          layer.subarray(offsetBytes, offsetBytes + 50_000),
        );
    };
    const before = (await origin.served()).requests;
    await readAll();
    const asked = await cache.asked();
    assert.ok(asked.length >= 5, asked.join('\n'));
    assert.ok(
      asked.slice(1).every((line) => / 20[06]$/.test(line)),
      asked.join('\n'),
    );
    assert.ok(
      asked.some((line) => line.startsWith(`GET /v2/team/app/blobs/${digest}?ns=`)),
      asked.join('\n'),
    );

    await cache.stop();
    await readAll();
    assert.ok((await origin.served()).requests >= before + 5);
    assert.deepEqual(await subject.referrers(reference, pushed.digest, 'application/x', signal), []);
  });

  it('whose cache does not know us is read directly', async (t) => {
    const origin = await startOrigin(t);
    const cache = await startCache(t, origin.host);
    const { bytes, digest } = blobOf(1_000);
    const alice = keyring({ [origin.host]: ['alice', 'pw-of-alice'], [cache.host]: ['bob', 'wrong'] });
    await client(t, { credentials: alice, http }).client.pushBlob(referenceTo(origin.host), { digest, size: 1_000 }, bytes, signal);
    for (const certificate of ['', 'client = [["client.pem", "client.key"]]\n']) {
      const toml = `[host."https://${cache.host}"]\nskip_verify = true\n${certificate}`;
      const files = { 'hosts.toml': toml, 'client.pem': tls.client.cert, 'client.key': tls.client.key };
      const { hosts } = await hostsIn(t, Object.fromEntries(Object.entries(files).map(([name, text]) => [`${origin.host}/${name}`, text])));
      const { client: subject } = client(t, { hosts, credentials: alice, http });
      const read = subject.readBlobRange(referenceTo(origin.host), digest, { offsetBytes: 0, lengthBytes: 1_000 }, signal);
      assert.deepEqual(await bytesOf(read), bytes);
    }
    assert.ok((await cache.asked()).some((line) => line.endsWith(' 401')));
  });
});
