import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { basic } from '@soci/keychain';
import { Connection } from './connection.ts';
import { RegistryError } from './errors.ts';
import type { RegistryClient } from './registry-client.ts';
import { makeCertificates, withoutOpenssl } from './testing/certificates.ts';
import { blobOf, bytesOf, client, referenceTo, signal, sourceOf } from './testing/clients.ts';
import { GIVEN } from './testing/guarded-registry.ts';
import { clockOf, hostsIn } from './testing/hosts.ts';
import { partOf, startWeb } from './testing/web.ts';
import type { Transport } from './transport.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
const skip = withoutOpenssl;
const none = { key: '', cert: '' };
const made = skip === false ? makeCertificates() : { directory: '', ca: '', server: none, client: none };
const other = skip === false ? makeCertificates() : made;

async function clientOf(t: TestContext, files: Readonly<Record<string, string>>): Promise<RegistryClient> {
  return client(t, { hosts: (await hostsIn(t, files)).hosts }).client;
}

function ask(subject: RegistryClient, host = 'registry.test'): Promise<boolean> {
  return subject.hasBlob(referenceTo(host), DIGEST, signal);
}

describe('TLS to the hosts of a registry', { skip }, () => {
  it('trusts the authorities of a host for that host, and for where it leads, but for no other', async (t) => {
    const { bytes, digest } = blobOf(1000);
    const storage = await startWeb(t, ({ headers }) => partOf(bytes, headers.range), made.server);
    const web = await startWeb(t, () => ({ status: 307, headers: { location: `${storage.origin}/blob` } }), made.server);
    const files = { 'registry.test/hosts.toml': `[host."${web.origin}"]\nca = ["ca.pem"]\n`, 'registry.test/ca.pem': made.ca };
    const subject = await clientOf(t, files);
    for (const offsetBytes of [0, 10]) {
      const read = subject.readBlobRange(referenceTo('registry.test'), digest, { offsetBytes, lengthBytes: 10 }, signal);
      assert.deepEqual(await bytesOf(read), bytes.subarray(offsetBytes, offsetBytes + 10));
    }
    assert.equal(web.seen.length, 1);
    assert.equal(storage.seen.length, 2);
    const wrong = await clientOf(t, { ...files, 'registry.test/ca.pem': other.ca });
    await assert.rejects(ask(wrong), { code: 'UNREACHABLE' });
    await assert.rejects(ask(await clientOf(t, { 'registry.test/hosts.toml': `server = "${web.origin}"\n` })), { code: 'UNREACHABLE' });
  });

  it('shows its certificate to a host that asks, and not to where it leads', async (t) => {
    const options = { ...made.server, clientCa: made.ca };
    for (const client of [
      'client = [["client.cert", "client.key"]]',
      'client = "both.pem"',
      'client = ["both.pem"]',
      'client = [["both.pem", ""]]',
    ]) {
      const files = {
        'registry.test/ca.pem': made.ca,
        'registry.test/client.cert': made.client.cert,
        'registry.test/client.key': made.client.key,
        'registry.test/both.pem': `${made.client.cert}${made.client.key}`,
      };
      const web = await startWeb(t, () => GIVEN, options);
      const toml = `server = "${web.origin}"\nca = "ca.pem"\n`;
      assert.ok(await ask(await clientOf(t, { ...files, 'registry.test/hosts.toml': `${toml}${client}\n` })));
      assert.equal(web.seen[0]?.client, 'node-1');
      await assert.rejects(ask(await clientOf(t, { ...files, 'registry.test/hosts.toml': toml })), { code: 'UNREACHABLE' });
      const guide = await startWeb(t, () => ({ status: 307, headers: { location: `${web.origin}/x` } }), options);
      const led = await clientOf(t, { ...files, 'registry.test/hosts.toml': `server = "${guide.origin}"\nca = "ca.pem"\n${client}\n` });
      await assert.rejects(led.fetchManifest(referenceTo('registry.test'), '1.0', signal), { code: 'UNREACHABLE' });
      assert.equal(guide.seen[0]?.client, 'node-1');
      assert.equal(web.seen.length, 1);
    }
  });

  it('takes certificates as Docker lays them out, where there is no hosts.toml', async (t) => {
    const web = await startWeb(t, () => GIVEN, { ...made.server, clientCa: made.ca });
    const folder = web.host.replace(':', '_');
    const files = {
      [`${folder}_/ca.crt`]: made.ca,
      [`${folder}_/client.cert`]: made.client.cert,
      [`${folder}_/client.key`]: made.client.key,
      [`${folder}_/notes.txt`]: 'not of interest',
    };
    const { hosts } = await hostsIn(t, files);
    assert.ok(await ask(client(t, { hosts, plainHttp: () => false }).client, web.host));
    assert.equal(web.seen[0]?.client, 'node-1');
  });

  it('is not checked where that is configured, and only there', async (t) => {
    const web = await startWeb(t, () => GIVEN, made.server);
    assert.ok(await ask(await clientOf(t, { 'registry.test/hosts.toml': `[host."${web.origin}"]\nskip_verify = true\n` })));
    const strict = await clientOf(t, { 'registry.test/hosts.toml': `server = "${web.origin}"\nskip_verify = false\n` });
    await assert.rejects(ask(strict), { code: 'UNREACHABLE' });
  });

  it('is tried first with a host of http that TLS is configured for, and given up for good where it does not speak it', async (t) => {
    const secure = await startWeb(t, () => GIVEN, made.server);
    assert.ok(await ask(await clientOf(t, { 'registry.test/hosts.toml': `server = "http://${secure.host}"\nskip_verify = true\n` })));
    const plain = await startWeb(t, () => GIVEN);
    const subject = await clientOf(t, { 'registry.test/hosts.toml': `server = "http://${plain.host}"\nskip_verify = true\n` });
    for (let i = 0; i < 3; i++) assert.ok(await ask(subject));
    assert.equal(plain.seen.length, 3);
    const bad = await clientOf(t, {
      'registry.test/hosts.toml': `server = "http://${secure.host}"\nca = "ca.pem"\n`,
      'registry.test/ca.pem': other.ca,
    });
    await assert.rejects(ask(bad), { code: 'UNREACHABLE' });
  });

  it('of this machine is not checked, and tried first, where its folder has certificates', async (t) => {
    for (const tls of [undefined, other.server]) {
      const web = await startWeb(t, () => GIVEN, tls);
      assert.ok(await ask(await clientOf(t, { [`${web.host}/ca.crt`]: made.ca }), web.host));
    }
  });

  it('follows an edit: connections of before are not used any more', async (t) => {
    const web = await startWeb(t, () => GIVEN, made.server);
    const { clock, pass } = clockOf();
    const toml = `server = "${web.origin}"\n`;
    const setup = await hostsIn(t, { 'registry.test/hosts.toml': `${toml}ca = "ca.pem"\n`, 'registry.test/ca.pem': made.ca }, { clock });
    const { client: subject } = client(t, { hosts: setup.hosts, clock });
    assert.ok(await ask(subject));
    await setup.write({ 'registry.test/ca.pem': other.ca });
    pass(2_000);
    await assert.rejects(ask(subject), { code: 'UNREACHABLE' });
    await setup.write({ 'registry.test/ca.pem': made.ca });
    pass(2_000);
    assert.ok(await ask(subject));
  });

  it('gives up soon where a short time to dial is configured', async (t) => {
    const origin = await startWeb(t, () => GIVEN);
    const files = { 'registry.test/hosts.toml': `server = "${origin.origin}"\n[host."http://10.255.255.1:81"]\ndial_timeout = "100ms"\n` };
    const { client: subject } = client(t, {
      hosts: (await hostsIn(t, files)).hosts,
      http: { dialTimeoutMs: 20_000, responseHeaderTimeoutMs: 20_000 },
    });
    const startedMs = performance.now();
    assert.ok(await ask(subject));
    assert.ok(performance.now() - startedMs < 5_000);
  });

  it('is not given up because a token server cannot be reached', async (t) => {
    const { hosts } = await hostsIn(t, { 'registry.test/hosts.toml': '[host."http://registry.test"]\nskip_verify = true\n' });
    const origins: string[] = [];
    const cause = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
    const challenge = 'Bearer realm="https://auth.test/token"';
    const transport: Transport = {
      send({ url }) {
        origins.push(url.origin);
        if (url.host === 'auth.test') return Promise.reject(new RegistryError('UNREACHABLE', 'cannot reach auth.test', { cause }));
        return Promise.resolve({
          status: 401,
          header: (name) => (name === 'www-authenticate' ? challenge : undefined),
          headerLines: (name) => (name === 'www-authenticate' ? [challenge] : []),
          body: { take: () => undefined, more: () => Promise.resolve(false), discard: () => undefined, async *[Symbol.asyncIterator]() {} },
        });
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    const { client: subject } = client(t, { hosts, transport, credentials: sourceOf(basic('alice', 'pw')) });
    await assert.rejects(ask(subject), { code: 'UNREACHABLE', message: /auth\.test/ });
    assert.ok(!origins.includes('http://registry.test'), origins.join());
  });

  it('shows no key', () => {
    const connection = new Connection({ clients: [{ certificate: made.client.cert, key: made.client.key }] });
    assert.doesNotMatch(JSON.stringify(connection), /PRIVATE|BEGIN/);
    assert.notEqual(connection.id, new Connection({}).id);
    assert.throws(() => new Connection({ clients: [{ certificate: made.client.cert, key: other.client.key }] }));
  });
});
