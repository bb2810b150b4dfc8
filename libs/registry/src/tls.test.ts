import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { basic } from '@soci/keychain';
import { makeCertificates, withoutOpenssl } from './testing/certificates.ts';
import { client, referenceTo, signal, sourceOf } from './testing/clients.ts';
import { GIVEN } from './testing/guarded-registry.ts';
import { startWeb } from './testing/web.ts';

const skip = withoutOpenssl;
const { directory, ca, server: tls } = skip === false ? makeCertificates() : { directory: '', ca: '', server: { key: '', cert: '' } };
const DIGEST = `sha256:${'ab'.repeat(32)}`;
const secure = { plainHttp: () => false };

/** A proxy that tunnels CONNECT to whom it names, and keeps what it could read. */
async function startProxy(
  t: TestContext,
): Promise<{ readonly url: string; readonly seen: string[]; readonly authorizations: (string | undefined)[] }> {
  const seen: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const server: Server = createServer((_, response) => response.writeHead(500).end());
  server.on('connect', (request, socket) => {
    seen.push(`${request.method} ${request.url}`);
    authorizations.push(request.headers.authorization ?? request.headers['proxy-authorization']);
    const [host = '', port = ''] = (request.url ?? '').split(':');
    const target = connect(Number(port), host === 'registry.test' ? '127.0.0.1' : host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      target.pipe(socket).pipe(target);
    });
    target.on('error', () => socket.destroy());
    socket.on('error', () => target.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://user:proxy-pw@127.0.0.1:${(server.address() as AddressInfo).port}`, seen, authorizations };
}

describe('TLS', { skip }, () => {
  it('is not repeated with a certificate that nobody vouches for', async (t) => {
    const web = await startWeb(t, () => GIVEN, tls);
    const { client: subject, lines } = client(t, secure);
    await assert.rejects(
      subject.hasBlob(referenceTo(web.host), DIGEST, signal),
      (error: Error) => 'code' in error && error.code === 'UNREACHABLE' && /certificate/.test(String(error.cause)),
    );
    assert.equal(lines.length, 0);
  });

  it('trusts authorities that are given, and hosts that need none', async (t) => {
    const web = await startWeb(t, () => GIVEN, tls);
    assert.ok(await client(t, { ...secure, extraCa: [ca] }).client.hasBlob(referenceTo(web.host), DIGEST, signal));
    assert.ok(
      await client(t, { ...secure, insecureTls: (host) => host === web.host }).client.hasBlob(referenceTo(web.host), DIGEST, signal),
    );
    await assert.rejects(client(t, { ...secure, insecureTls: () => false }).client.hasBlob(referenceTo(web.host), DIGEST, signal), {
      code: 'UNREACHABLE',
    });
  });

  it("trusts the operating system's store", async (t) => {
    const web = await startWeb(t, () => GIVEN, tls);
    const program = `
      import { RegistryClient } from '@soci/registry';
      import { ImageReference } from '@soci/image';
      import { collectLogs } from '@soci/log';
      const { log } = collectLogs();
      await using client = new RegistryClient({ credentials: { name: 'none', resolve: async () => ({ kind: 'none' }) }, log, plainHttp: () => false });
      console.log(await client.hasBlob(new ImageReference({ host: '${web.host}', repository: 'a' }), '${DIGEST}', AbortSignal.timeout(10_000)));
    `;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--conditions=@soci/source', '--input-type=module', '--eval', program],
      {
        env: { ...process.env, SSL_CERT_FILE: join(directory, 'ca.pem') },
        cwd: import.meta.dirname,
      },
    );
    assert.equal(stdout, 'true\n');
  });

  it('is not left by a redirect', async (t) => {
    const plain = await startWeb(t, () => GIVEN);
    const web = await startWeb(t, () => ({ status: 307, headers: { location: `${plain.origin}/x` } }), tls);
    const { client: subject } = client(t, { ...secure, extraCa: [ca] });
    await assert.rejects(subject.fetchManifest(referenceTo(web.host), '1.0', signal), {
      code: 'REDIRECT_REFUSED',
      message: /from https to http/,
    });
    assert.equal(plain.seen.length, 0);
  });

  it('goes through a proxy by CONNECT, so that it does not see what is shown to the registry', async (t) => {
    const proxy = await startProxy(t);
    const web = await startWeb(
      t,
      ({ headers }) => (headers.authorization === undefined ? { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } } : GIVEN),
      tls,
    );
    const port = web.host.split(':')[1];
    const options = {
      ...secure,
      credentials: sourceOf(basic('alice', 's3cret-1')),
      insecureTls: () => true,
      proxy: { httpsProxy: proxy.url },
    };
    const { client: subject, lines } = client(t, options);
    assert.ok(await subject.hasBlob(referenceTo(`registry.test:${port}`), DIGEST, signal));
    assert.deepEqual(new Set(proxy.seen), new Set([`CONNECT registry.test:${port}`]));
    assert.deepEqual(new Set(proxy.authorizations), new Set([`Basic ${Buffer.from('user:proxy-pw').toString('base64')}`]));
    assert.ok(await subject.hasBlob(referenceTo(web.host), DIGEST, signal), 'loopback is reached without it');
    assert.equal(lines.length, 0);
  });

  it('names no password of a proxy that is not there', async (t) => {
    const { client: subject, lines } = client(t, {
      ...secure,
      proxy: { httpsProxy: 'http://user:proxy-pw@127.0.0.1:1' },
      http: { maxRetries: 1 },
    });
    await assert.rejects(subject.hasBlob(referenceTo('registry.test'), DIGEST, signal), (error: Error) => {
      assert.ok('code' in error && error.code === 'UNREACHABLE');
      assert.doesNotMatch(`${error.message} ${String(error.cause)} ${lines.join()}`, /proxy-pw/);
      return true;
    });
  });
});
