import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseHostsToml, type HostEntry } from './hosts-toml.ts';

function read(text: string): ReturnType<typeof parseHostsToml> {
  return parseHostsToml(text, '/etc/certs.d/r.example/hosts.toml', '/etc/certs.d/r.example');
}

function addressOf({ endpoint }: HostEntry): string | undefined {
  return endpoint && `${endpoint.scheme}://${endpoint.authority}${endpoint.path}`;
}

describe('parseHostsToml', () => {
  it('keeps the order of the file, with the server last', () => {
    const { hosts, server } = read(`
      server = "https://r.example"
      [host."https://z.example"]
        capabilities = ["pull"]
      [host."http://a.example:5000/us/"]
      [host."bare.example:443"]
      [host."https://z.example".header]
        x-a = "1"
      [host.httpbin]
    `);
    assert.deepEqual([...hosts, server].map(addressOf), [
      'https://z.example',
      'http://a.example:5000/us',
      'https://bare.example:443',
      'https://httpbin',
      'https://r.example',
    ]);
    assert.deepEqual(hosts[0]?.headers, { 'x-a': '1' });
    assert.deepEqual(hosts[0].capabilities, ['pull']);
    assert.deepEqual(hosts[1]?.capabilities, ['pull', 'resolve', 'push', 'referrers']);
  });

  it('takes paths from the folder of the file, in all the ways certificates may be written', () => {
    const { hosts, server } = read(`
      ca = "root.pem"
      [host."https://a"]
        ca = ["one.pem", "/abs/two.pem"]
        client = [["c.cert", "c.key"], ["whole.pem", ""], "other.pem"]
      [host."https://b"]
        client = "single.pem"
    `);
    assert.deepEqual(server.authorities, ['/etc/certs.d/r.example/root.pem']);
    assert.deepEqual(hosts[0]?.authorities, ['/etc/certs.d/r.example/one.pem', '/abs/two.pem']);
    assert.deepEqual(hosts[0].clients, [
      { certificate: '/etc/certs.d/r.example/c.cert', key: '/etc/certs.d/r.example/c.key' },
      { certificate: '/etc/certs.d/r.example/whole.pem', key: undefined },
      { certificate: '/etc/certs.d/r.example/other.pem', key: undefined },
    ]);
    assert.deepEqual(hosts[1]?.clients, [{ certificate: '/etc/certs.d/r.example/single.pem', key: undefined }]);
  });

  it('knows the other keys, and leaves out what it does not know', () => {
    const { hosts } = read(`
      unknown = 1
      [host."https://a"]
        capabilities = ["Pull", "RESOLVE"]
        skip_verify = true
        override_path = true
        dial_timeout = "1m30.5s"
        credentials = "origin"
        later = { x = 1 }
      [host."https://a".header]
        X-Two = ["a", "b"]
        Authorization = "Basic eDp5"
        Content-Length = "7"
    `);
    const [entry] = hosts;
    assert.deepEqual(entry?.capabilities, ['pull', 'resolve']);
    assert.equal(entry.skipVerify, true);
    assert.equal(entry.overridePath, true);
    assert.equal(entry.dialTimeoutMs, 90_500);
    assert.equal(entry.credentials, 'origin');
    assert.deepEqual(entry.headers, { 'x-two': 'a, b', authorization: 'Basic eDp5' });
  });

  it('gives the registry itself all capabilities where no server is named, as containerd does', () => {
    const { server } = read('capabilities = ["pull"]\nskip_verify = true\n');
    assert.equal(server.endpoint, undefined);
    assert.deepEqual(server.capabilities, ['pull', 'resolve', 'push', 'referrers']);
    assert.equal(server.skipVerify, true);
    assert.deepEqual(read('server = "https://r.example"\ncapabilities = ["pull"]\n').server.capabilities, ['pull']);
  });

  const broken: [string, string, RegExp][] = [
    ['what is no TOML', 'server = "x"\nserver\n', /hosts\.toml:2: /],
    [
      'an unknown capability',
      '# c\n[host."https://a"]\n\n  capabilities = ["pull", "fly"]\n',
      /hosts\.toml:4: host\.https:\/\/a\.capabilities\.1: /,
    ],
    ['a number for a file', '[host."https://a"]\nca = 1\n', /hosts\.toml:2: host\.https:\/\/a\.ca: /],
    ['a pair of three', 'client = [["a", "b", "c"]]\n', /hosts\.toml:1: client/],
    ['a time that is none', '\n[host."https://a"]\ndial_timeout = "soon"\n', /hosts\.toml:2: dial_timeout: /],
    ['a header with a line break', '[header]\nx-a = "1\\r\\nx-b: 2"\n', /hosts\.toml:2: header\.x-a: not the value of a header/],
    ['a header without a name', '[header]\n"x a" = "1"\n', /hosts\.toml:2: header\.x a: /],
    [
      'a password in an address that has something wrong',
      '[host."https://u:s3cret@a"]\nca = 5\n',
      /hosts\.toml:2: host\.https:\/\/a\.ca: /,
    ],
    ['a password in an address', '[host."https://u:s3cret@a"]\n', /hosts\.toml:1: the address of a host carries user information/],
    ['an address that is none', '[host."https://"]\n', /hosts\.toml:1: not the address of a host/],
    ['too many hosts', Array.from({ length: 65 }, (_, i) => `[host."https://h${i}"]`).join('\n'), /host: more than 64 hosts/],
  ];
  for (const [name, text, message] of broken) {
    it(`refuses ${name}, with file and line`, () => {
      assert.throws(
        () => read(text),
        (error: Error) => {
          assert.ok('code' in error && error.code === 'HOSTS_INVALID');
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /s3cret@|b: 2/);
          return true;
        },
      );
    });
  }

  it('needs no long time for hostile text', () => {
    const startedMs = performance.now();
    for (const text of ['a'.repeat(200_000), `${'"'.repeat(100_000)}\n=`, `[${'[a.'.repeat(50_000)}`, `x = 1\n${'y '.repeat(100_000)}`])
      assert.throws(() => read(text), { code: 'HOSTS_INVALID' });
    assert.throws(() => read(`ca = 1\n# ${'a.'.repeat(100_000)}\n`), { code: 'HOSTS_INVALID' });
    assert.ok(performance.now() - startedMs < 2_000);
  });
});
