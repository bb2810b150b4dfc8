import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { hasCode } from '@soci/errors';
import { collectLogs } from '@soci/log';
import { version } from '@soci/proto';
import { implement, openChannel, readTls, serveGrpc, type GrpcServer, type Tls } from './index.ts';

const signal = new AbortController().signal;
const { log } = collectLogs();

function whyNot(): string | false {
  try {
    execFileSync('openssl', ['version']);
    return false;
  } catch {
    return 'openssl is not installed';
  }
}

describe('mutual TLS', { skip: whyNot() }, () => {
  let directory: string;
  let tls: Tls;
  let strangers: Tls;

  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });

  async function makeAuthority(name: string): Promise<Tls> {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    openssl('req', '-x509', ...key, '-keyout', `${name}-ca.key`, '-out', `${name}-ca.crt`, '-subj', `/CN=${name}`, '-days', '2');
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', '/CN=node');
    await writeFile(join(directory, 'names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1');
    const signing = ['-CA', `${name}-ca.crt`, '-CAkey', `${name}-ca.key`, '-CAcreateserial', '-days', '2', '-extfile', 'names'];
    openssl('x509', '-req', '-in', `${name}.csr`, ...signing, '-out', `${name}.crt`);
    const path = (file: string): string => join(directory, file);
    return await readTls({ authority: path(`${name}-ca.crt`), certificate: path(`${name}.crt`), key: path(`${name}.key`) });
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'rpc-'));
    tls = await makeAuthority('ours');
    strangers = await makeAuthority('theirs');
  });
  after(() => rm(directory, { recursive: true, force: true }));

  async function start(t: TestContext, options: { readonly graceMs?: number } = {}): Promise<GrpcServer> {
    const services = [implement(version.VersionService, { version: () => Promise.resolve({ version: 'secured', revision: '' }) })];
    const server = await serveGrpc({ address: 'tcp://127.0.0.1:0', services, log, tls, ...options });
    t.after(() => server.stop());
    return server;
  }

  function ask(address: string, identity: Tls): Promise<version.VersionResponse> {
    const channel = openChannel({ address, tls: identity, deadlineMs: 5_000 });
    return channel
      .client(version.VersionService)
      .version({}, { signal })
      .finally(() => channel[Symbol.dispose]());
  }

  it('lets those in who have a certificate of the authority, and tells which port was chosen', async (t) => {
    const { address } = await start(t);
    assert.match(address, /^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/);
    assert.equal((await ask(address, tls)).version, 'secured');
  });

  it('lets nobody else in', async (t) => {
    const { address } = await start(t);
    const otherIdentity = { ...tls, certificate: strangers.certificate, key: strangers.key };
    await assert.rejects(ask(address, otherIdentity), (error) => hasCode(error, 'UNAVAILABLE'));
    assert.equal((await ask(address, tls)).version, 'secured');
  });

  it('is not served by a stranger', async (t) => {
    const { address } = await start(t);
    await assert.rejects(ask(address, { ...tls, authority: strangers.authority }), (error) => hasCode(error, 'UNAVAILABLE'));
  });

  it('stops with a client connected', async (t) => {
    const server = await start(t, { graceMs: 3_000 });
    using channel = openChannel({ address: server.address, tls });
    await channel.client(version.VersionService).version({}, { signal });
    const before = Date.now();
    await server.stop();
    assert.ok(Date.now() - before < 1_000);
  });

  it('names the file that cannot be read', async () => {
    const missing = join(directory, 'none.crt');
    await assert.rejects(
      readTls({ authority: missing, certificate: missing, key: missing }),
      (error) => hasCode(error, 'ADDRESS_INVALID') && error.message.includes(missing),
    );
  });
});
