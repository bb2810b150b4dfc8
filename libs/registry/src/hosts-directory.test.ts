import assert from 'node:assert/strict';
import { mkdir, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { RegistryHost, type RegistryHosts } from './registry-host.ts';
import { clockOf, hostsIn, mirror } from './testing/hosts.ts';

const signal = new AbortController().signal;

function originOf(host: string, scheme = 'https'): RegistryHost {
  return new RegistryHost({ base: new URL(`${scheme}://${host}/v2/`), credentialHost: host });
}

async function basesOf(hosts: RegistryHosts, namespace: string, origin = originOf(namespace)): Promise<string[]> {
  return (await hosts.hostsFor(namespace, origin, signal)).map(({ base }) => base.href);
}

function to(host: string): string {
  return `[host."https://${host}"]\n`;
}

describe('the folder of a registry', () => {
  it('is looked for by its names in order, then _default', async (t) => {
    const { hosts } = await hostsIn(t, {
      'a.example_5000_/hosts.toml': to('first'),
      'a.example:5000/hosts.toml': to('second'),
      'b.example:5000/hosts.toml': to('third'),
      'c.example/hosts.toml': to('fourth'),
      '_default/hosts.toml': to('default'),
    });
    for (const [namespace, mirrorHost] of [
      ['a.example:5000', 'first'],
      ['b.example:5000', 'third'],
      ['c.example', 'fourth'],
      ['c.example:5000', 'default'],
      ['../c.example', 'default'],
      ['..', 'default'],
      ['', 'default'],
    ] as const) {
      const origin = originOf('origin.example');
      assert.deepEqual(await basesOf(hosts, namespace, origin), [`https://${mirrorHost}/v2/`, 'https://origin.example/v2/'], namespace);
    }
  });

  it('is taken from the first root that has one, a _default there included', async (t) => {
    const first = await hostsIn(t, { 'a.example/hosts.toml': to('one') });
    const second = await hostsIn(t, { 'a.example/hosts.toml': to('two'), '_default/hosts.toml': to('two-default') });
    const { hosts } = await hostsIn(t, {}, { configPath: `/nonexistent/certs.d:${first.root}:${second.root}` });
    assert.deepEqual(await basesOf(hosts, 'a.example'), ['https://one/v2/', 'https://a.example/v2/']);
    assert.deepEqual(await basesOf(hosts, 'b.example'), ['https://two-default/v2/', 'https://b.example/v2/']);
    const none = await hostsIn(t, {}, { configPath: '' });
    assert.deepEqual(await basesOf(none.hosts, 'a.example'), ['https://a.example/v2/']);
  });

  it('is read again when something in it changes, within seconds, and not at every request', async (t) => {
    const { clock, pass } = clockOf();
    const { hosts, root, write } = await hostsIn(t, {}, { clock });
    const now = (): Promise<string[]> => basesOf(hosts, 'a.example');
    const later = (): Promise<string[]> => {
      pass(2_000);
      return now();
    };
    assert.deepEqual(await now(), ['https://a.example/v2/']);
    await write({ 'a.example/hosts.toml': to('one') });
    assert.deepEqual(await now(), ['https://a.example/v2/'], 'known for two seconds');
    assert.deepEqual(await later(), ['https://one/v2/', 'https://a.example/v2/']);
    await write({ 'a.example/hosts.toml': to('two') });
    assert.deepEqual(await later(), ['https://two/v2/', 'https://a.example/v2/']);
    await write({ 'next/hosts.toml': to('thr') });
    await rename(join(root, 'next/hosts.toml'), join(root, 'a.example/hosts.toml'));
    assert.deepEqual(await later(), ['https://thr/v2/', 'https://a.example/v2/']);
    await write({ '_default/hosts.toml': to('default'), 'a.example/link.toml': to('four') });
    await unlink(join(root, 'a.example/hosts.toml'));
    await symlink('link.toml', join(root, 'a.example/hosts.toml'));
    assert.deepEqual(await later(), ['https://four/v2/', 'https://a.example/v2/']);
    await rm(join(root, 'a.example'), { recursive: true });
    assert.deepEqual(await later(), ['https://default/v2/', 'https://a.example/v2/']);
    const before = await hosts.hostsFor('a.example', originOf('a.example'), signal);
    pass(2_000);
    assert.equal(await hosts.hostsFor('a.example', originOf('a.example'), signal), before, 'not read again');
  });

  it('with a broken hosts.toml counts for its certificates alone, and the log names file and line', async (t) => {
    const { hosts, lines, root } = await hostsIn(t, { 'a.example/hosts.toml': '[host."https://one"]\ncapabilities = ["fly"]\n' });
    assert.deepEqual(await basesOf(hosts, 'a.example'), ['https://a.example/v2/']);
    assert.match(lines.join('\n'), new RegExp(`"level":"error".*${root}/a\\.example/hosts\\.toml:2: `));
  });

  it('fails the request when something in it cannot be used', async (t) => {
    const broken: [string, (folder: string) => Promise<unknown>, RegExp][] = [
      [
        'no such authority',
        (at) => writeFile(join(at, 'hosts.toml'), 'ca = "ca.pem"\n'),
        /a\.example\/ca\.pem cannot be used: there is no such file/,
      ],
      ['no certificate', (at) => writeFile(join(at, 'x.crt'), 'not PEM'), /a\.example\/x\.crt is no certificate/],
      ['no key', (at) => writeFile(join(at, 'x.cert'), 'not PEM'), /a\.example\/x\.cert is no client certificate/],
      ['a folder for a file', (at) => mkdir(join(at, 'hosts.toml')), /a\.example\/hosts\.toml cannot be used/],
      ['a huge file', (at) => writeFile(join(at, 'hosts.toml'), '#'.repeat(300_000)), /longer than 262144 bytes/],
    ];
    for (const [name, breakIt, message] of broken) {
      const { clock, pass } = clockOf();
      const { hosts, root } = await hostsIn(t, {}, { clock });
      await mkdir(join(root, 'a.example'));
      await breakIt(join(root, 'a.example'));
      await assert.rejects(basesOf(hosts, 'a.example'), { code: 'HOSTS_INVALID', message }, name);
      await rm(join(root, 'a.example'), { recursive: true });
      await assert.rejects(basesOf(hosts, 'a.example'), { code: 'HOSTS_INVALID' }, 'known for two seconds');
      pass(2_000);
      assert.deepEqual(await basesOf(hosts, 'a.example'), ['https://a.example/v2/']);
    }
  });

  it('that cannot be looked for fails the request, too', async (t) => {
    const { root } = await hostsIn(t, { 'certs.d': 'a file' });
    const { hosts } = await hostsIn(t, {}, { configPath: join(root, 'certs.d') });
    await assert.rejects(basesOf(hosts, 'a.example'), { code: 'HOSTS_INVALID', message: /certs\.d\/a\.example cannot be used/ });
  });
});

describe('the hosts of a registry', () => {
  it('have /v2 at their end unless the path is overridden', async (t) => {
    const { hosts } = await hostsIn(t, {
      '_default/hosts.toml': `
        server = "https://r.example/team/"
        [host."https://a"]
        [host."https://b/us/"]
        [host."https://c/x/v2"]
        [host."https://d/v2/x"]
        override_path = true
        [host."https://e"]
        override_path = true
        [host."https://f/./x//../y"]
      `,
    });
    assert.deepEqual(await basesOf(hosts, 'r.example'), [
      'https://a/v2/',
      'https://b/us/v2/',
      'https://c/x/v2/',
      'https://d/v2/x/',
      'https://e/',
      'https://f/y/v2/',
      'https://r.example/team/v2/',
    ]);
  });

  it('of Docker Hub are asked at its API host, which is no mirror of it', async (t) => {
    const { hosts } = await hostsIn(t, { 'docker.io/hosts.toml': 'server = "https://docker.io"\n[host."https://m.example"]\n' });
    const [first, last] = await hosts.hostsFor('docker.io', originOf('registry-1.docker.io'), signal);
    assert.deepEqual(first?.queryFor(first.base), { ns: 'docker.io' });
    assert.equal(last?.base.href, 'https://registry-1.docker.io/v2/');
    assert.equal(last.credentialHost, 'registry-1.docker.io');
    assert.deepEqual(last.queryFor(last.base), {});
  });

  it('are the ones of hosts.toml, then the mirrors of config.toml, then the server', async (t) => {
    const mirrors = {
      'r.example': {
        mirrors: [
          mirror('https://m1.example:5000/x'),
          mirror('https://one', { insecure: false }),
          mirror('m2.example', { insecure: false }),
        ],
      },
    };
    const { hosts } = await hostsIn(t, { 'r.example/hosts.toml': `server = "https://s.example"\n${to('one')}${to('two')}` }, { mirrors });
    assert.deepEqual(await basesOf(hosts, 'r.example'), [
      'https://one/v2/',
      'https://two/v2/',
      'http://m1.example:5000/x/',
      'https://m2.example/v2/',
      'https://s.example/v2/',
    ]);
  });

  it('of config.toml may be none, and then are named', async (t) => {
    const mirrors = {
      'r.example': { mirrors: [mirror('https://u:s3cret@m.example'), mirror(''), mirror('https://127.0.0.1:5000', { insecure: false })] },
    };
    const { hosts, lines } = await hostsIn(t, {}, { mirrors });
    assert.deepEqual(await basesOf(hosts, 'r.example'), ['http://127.0.0.1:5000/v2/', 'https://r.example/v2/']);
    assert.equal(lines.length, 2);
    assert.doesNotMatch(lines.join(), /s3cret/);
  });

  it('get the time that config.toml gives them', async (t) => {
    const mirrors = { r: { mirrors: [mirror('a', { requestTimeoutSec: 7 }), mirror('b', { requestTimeoutSec: -1 }), mirror('c')] } };
    const { hosts } = await hostsIn(t, {}, { mirrors });
    assert.deepEqual(
      (await hosts.hostsFor('r', originOf('r'), signal)).map(({ requestTimeoutMs }) => requestTimeoutMs),
      [7_000, 0, undefined, undefined],
    );
  });

  it('show nobody their headers', async (t: TestContext) => {
    const { hosts, lines } = await hostsIn(t, { 'r/hosts.toml': '[host."https://a".header]\nauthorization = "Basic s3cret"\n' });
    const [first] = await hosts.hostsFor('r', originOf('r'), signal);
    assert.doesNotMatch(`${JSON.stringify(first)} ${lines.join()}`, /s3cret/);
  });
});
