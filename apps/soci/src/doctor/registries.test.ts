import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { freePort, Registry } from '@soci/testing';
import { makeFolder } from '../testing/folder.ts';
import type { Check } from './check.ts';
import { DoctorContext } from './doctor-context.ts';
import { clock, registries } from './registries.ts';

const signal = new AbortController().signal;
const hasRegistry = spawnSync('docker-registry', ['--version']).status === 0;
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

interface Setup {
  readonly named?: readonly string[];
  /** Text of the service's config.toml. */
  readonly config?: string;
  /** Files of the folder with hosts.toml files, by relative path. */
  readonly hosts?: Readonly<Record<string, string>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly nowMs?: () => number;
}

async function look(
  t: TestContext,
  checks: readonly Check[],
  { named = [], config = '', hosts = {}, environment = {}, nowMs = Date.now }: Setup,
): Promise<readonly string[]> {
  const files = Object.fromEntries(Object.entries(hosts).map(([path, text]) => [`certs.d/${path}`, text]));
  const folder = await makeFolder(t, files);
  const configPath = join(
    await makeFolder(t, { 'config.toml': `${config}\n[resolver]\nconfig_path = ${JSON.stringify(join(folder, 'certs.d'))}\n` }),
    'config.toml',
  );
  const paths = {
    adminAddress: join(folder, 'a'),
    containerdConfigPath: join(folder, 'd'),
    containerdAddress: join(folder, 's'),
    root: folder,
  };
  using context = new DoctorContext({ ...paths, configPath, registries: named, environment, log: collectLogs().log, nowMs });
  const verdicts = (await Promise.all(checks.map((check) => check.run(context, signal)))).flat();
  return verdicts.map((verdict) => `${verdict.outcome}: ${verdict.message}${verdict.outcome === 'ok' ? '' : ` -> ${verdict.cure}`}`);
}

async function listen(t: TestContext, server: Server | ReturnType<typeof createTcpServer>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function web(t: TestContext, answer: (response: ServerResponse) => void): Promise<string> {
  const server = createServer((_, response) => answer(response));
  t.after(() => server.closeAllConnections());
  return listen(t, server);
}

describe('registries', () => {
  it('that run are asked, with and without a login', { skip: !hasRegistry && 'docker-registry is not installed' }, async (t) => {
    await using open = await Registry.start({ directory: await makeFolder(t) });
    await using closed = await Registry.start({ directory: await makeFolder(t), login: { username: 'alice', password: 'x' } });
    const [first = '', second = '', time = ''] = await look(t, [registries, clock], { named: [open.host, closed.host] });
    assert.match(first, new RegExp(`^ok: ${open.host} answers 200 after \\d+ ms$`));
    assert.match(second, new RegExp(`^ok: ${closed.host} answers 401 after \\d+ ms$`));
    assert.match(time, /^ok: within \d+ s of 2 registries$/);
  });

  it('need not be there', async (t) => {
    assert.deepEqual(await look(t, [registries, clock], {}), ['ok: none is configured or in use; name one with --registry']);
  });

  for (const [status, want] of [
    [404, /^problem: .* answers 404 after \d+ ms -> is it a registry\? http:\/\/.*\/v2\/ should answer 200 or 401$/],
    [429, /^warning: .* answers 429 .* -> too many requests/],
    [503, /^problem: .* answers 503 .* -> the registry is not well/],
  ] as const) {
    it(`that answer ${status}`, async (t) => {
      const host = await web(t, (response) => response.writeHead(status).end());
      assert.match((await look(t, [registries], { named: [host] }))[0] ?? '', want);
    });
  }

  it('that cannot be reached are told apart', async (t) => {
    const hung = await listen(
      t,
      createTcpServer((socket) => socket.on('error', () => undefined)),
    );
    const refused = `127.0.0.1:${await freePort()}`;
    const cut = await listen(
      t,
      createTcpServer((socket) => socket.destroy()),
    );
    const got = await look(t, [registries], { named: [refused, cut, 'registry.invalid', 'no host', hung] });
    assert.match(got[0] ?? '', /^problem: 127\.0\.0\.1:\d+: nobody listens there -> is the port right\?/);
    assert.match(got[1] ?? '', /^problem: 127\.0\.0\.1:\d+: .* -> see the network/);
    assert.match(got[2] ?? '', /^problem: registry\.invalid: registry\.invalid cannot be resolved -> is the name right\?/);
    assert.match(got[3] ?? '', /^problem: no host: not a host/);
    assert.match(got[4] ?? '', /^problem: 127\.0\.0\.1:\d+: no answer within 5 s -> see firewall/);
  });

  it('are asked as hosts.toml and config.toml say, mirrors first; one that is away matters less where another answers', async (t) => {
    const seen: string[] = [];
    const mirror = await web(t, (response) => response.writeHead(200).end());
    const server = createServer((request, response) => {
      seen.push(String(request.headers['x-key']));
      response.writeHead(200).end();
    });
    const second = await listen(t, server);
    t.after(() => server.closeAllConnections());
    const away = `127.0.0.1:${await freePort()}`;
    const got = await look(t, [registries], {
      config: `[resolver.host."r.invalid"]\nmirrors = [{ host = "http://${away}", insecure = true }]`,
      hosts: {
        'r.invalid/hosts.toml': `[host."http://${mirror}"]\n[host."http://${second}"]\n[host."http://${second}".header]\nx-key = "canary"\n`,
        '_default/hosts.toml': '',
      },
    });
    assert.match(got[0] ?? '', new RegExp(`^ok: ${mirror} \\(for r\\.invalid\\) answers 200`));
    assert.match(got[1] ?? '', new RegExp(`^ok: ${second} \\(for r\\.invalid\\) answers 200`));
    assert.match(got[2] ?? '', new RegExp(`^warning: ${away} \\(for r\\.invalid\\): nobody listens there`));
    assert.match(got[3] ?? '', /^warning: r\.invalid: r\.invalid cannot be resolved/);
    assert.equal(got.length, 4);
    assert.deepEqual(seen, ['canary']);
    assert.ok(!got.join('\n').includes('canary'));
  });

  it('that do not speak TLS, or with a certificate that is not trusted', { skip: !hasOpenssl && 'openssl is not installed' }, async (t) => {
    const folder = await makeFolder(t);
    const names = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=r'];
    execFileSync('openssl', ['req', '-x509', ...names, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', 'k', '-out', 'c'], {
      cwd: folder,
      stdio: 'ignore',
    });
    const [key, cert] = await Promise.all(['k', 'c'].map((name) => readFile(join(folder, name))));
    const server = createSecureServer({ key, cert }, (_, response) => response.writeHead(401).end());
    t.after(() => server.closeAllConnections());
    const secure = await listen(t, server);
    const plain = await web(t, (response) => response.writeHead(200).end());
    const host = (address: string, more = ''): Readonly<Record<string, string>> => ({
      'r.invalid/hosts.toml': `server = "https://${address}"\n${more}`,
    });
    assert.match(
      (await look(t, [registries], { hosts: host(secure) }))[0] ?? '',
      /^problem: .*: its certificate is not trusted: .* -> name its authority as ca in its hosts\.toml$/,
    );
    assert.match((await look(t, [registries], { hosts: host(secure, `ca = "${folder}/c"\n`) }))[0] ?? '', /^ok: .* answers 401/);
    assert.match((await look(t, [registries], { hosts: host(secure, 'skip_verify = true\n') }))[0] ?? '', /^ok: .* answers 401/);
    const localhost = secure.replace('127.0.0.1', 'localhost');
    assert.match(
      (await look(t, [registries], { hosts: host(localhost, `ca = "${folder}/c"\n`) }))[0] ?? '',
      /^problem: .*: its certificate is for another name/,
    );
    assert.match((await look(t, [registries], { hosts: host(plain) }))[0] ?? '', /^problem: .*: it does not speak TLS -> write "http/);
  });

  it('are asked through a proxy where the environment names one', async (t) => {
    const proxied: string[] = [];
    const server = createServer((request, response) => {
      proxied.push(request.url ?? '');
      response.writeHead(401).end();
    });
    t.after(() => server.closeAllConnections());
    const proxy = await listen(t, server);
    const hosts = { 'r.invalid/hosts.toml': 'server = "http://r.invalid"\n' };
    assert.match(
      (await look(t, [registries], { hosts, environment: { HTTP_PROXY: `http://${proxy}` } }))[0] ?? '',
      /^ok: r\.invalid answers 401/,
    );
    assert.deepEqual(proxied, ['http://r.invalid/v2/']);
  });

  it('whose hosts.toml is broken', async (t) => {
    const got = await look(t, [registries], { hosts: { 'r.invalid/hosts.toml': `[host."https://m"]\nca = "gone.pem"\n` } });
    assert.match(got[0] ?? '', /^problem: r\.invalid: .*gone\.pem.* -> correct its hosts\.toml$/);
  });

  it('are a bounded number', async (t) => {
    const hosts = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`127.0.0.1_${i + 1}_/hosts.toml`, '']));
    assert.equal((await look(t, [registries], { hosts })).length, 16);
  });
});

describe('the clock', () => {
  const date = new Date('2030-01-01T00:00:00Z');
  for (const [aheadMs, want] of [
    [900, /^ok: within \d s of 127/],
    [40_000, /^warning: the clock is 40 s ahead of that of 127\..* -> let chrony/],
    [-7_200_000, /^problem: the clock is 7200 s behind that of 127\..* -> set it/],
  ] as const) {
    it(`${aheadMs} ms ahead`, async (t) => {
      const host = await web(t, (response) => response.writeHead(401, { date: date.toUTCString() }).end());
      assert.match((await look(t, [clock], { named: [host], nowMs: () => date.getTime() + aheadMs }))[0] ?? '', want);
    });
  }

  it('is not judged by a registry that tells no time', async (t) => {
    const host = await web(t, (response) => {
      response.sendDate = false;
      response.writeHead(401).end();
    });
    assert.deepEqual(await look(t, [clock], { named: [host] }), []);
  });
});
