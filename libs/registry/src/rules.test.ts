import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { guardedLookup } from './addresses.ts';
import { byPreference, chooseChallenge, parseChallenges } from './challenge.ts';
import { ProxyRules, proxyFromEnv } from './proxy.ts';
import { checkRealm } from './realm.ts';
import { isPlainHttpByDefault } from './registry-client.ts';
import { readTokenAnswer } from './token-answer.ts';

describe('parseChallenges', () => {
  for (const [line, want] of [
    [
      'Negotiate abc==, Basic realm="x"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x' }],
      ],
    ],
    ['Basic realm="a", realm="b"', [['basic', { realm: 'a' }]]],
    [
      'Bearer realm="r" ,, ,scope="s",Basic',
      [
        ['bearer', { realm: 'r', scope: 's' }],
        ['basic', {}],
      ],
    ],
    ['Bearer REALM=r', [['bearer', { realm: 'r' }]]],
    ['realm="x", Basic realm="y"', [['basic', { realm: 'y' }]]],
    ['Basic __proto__="x", constructor=y', [['basic', { ['__proto__']: 'x', constructor: 'y' }]]],
    ['Basic realm="a\\', [['basic', {}]]],
    ['', []],
    ['=,=;""', []],
  ] as [string, [string, Record<string, string>][]][]) {
    it(line, () => {
      const got = parseChallenges([line]).map(({ scheme, params }) => [scheme, [...params]]);
      assert.deepEqual(
        got,
        want.map(([scheme, params]) => [scheme, Object.entries(params)]),
      );
    });
  }

  it('does not read more than a sane header, and reads that in linear time', () => {
    assert.throws(() => parseChallenges(['"'.repeat(1024 * 1024)]), { code: 'CHALLENGE_UNSUPPORTED' });
    const startedMs = performance.now();
    for (const piece of ['"', 'a=', 'a ', 'a=",', '\\', ',', 'Basic a="\\"" '])
      byPreference(parseChallenges([piece.repeat(8 * 1024).slice(0, 8 * 1024)]));
    assert.ok(performance.now() - startedMs < 500);
  });

  it('takes Basic where the Bearer beside it cannot be used', () => {
    assert.equal(chooseChallenge(parseChallenges(['Bearer realm="x", Basic realm="y"'])).scheme, 'basic');
  });
});

describe('checkRealm', () => {
  const check =
    (realm: string, registry: string, trustedRealms: string[] = []) =>
    () =>
      checkRealm(new URL(realm), new URL(registry), { trustedRealms });
  for (const [realm, registry, trusted] of [
    ['https://auth.example/token', 'https://r.example/v2/', []],
    ['http://auth.example/token', 'http://r.example/v2/', []],
    ['https://10.0.0.5/token', 'https://10.0.0.5/v2/', []],
    ['http://127.0.0.1:5001/', 'http://localhost:5000/v2/', []],
    ['https://10.0.0.5/token', 'https://r.example/v2/', ['10.0.0.5']],
    ['https://8.8.8.8/', 'https://r.example/v2/', []],
  ] as const) {
    it(`lets ${realm} of ${registry} pass`, check(realm, registry, [...trusted]));
  }
  for (const [realm, registry] of [
    ['http://auth.example/token', 'https://r.example/v2/'],
    ['https://10.0.0.5:8443/token', 'https://10.0.0.5/v2/'],
    ['https://127.0.0.1/', 'https://r.example/v2/'],
    ['https://localhost/', 'https://r.example/v2/'],
    ['https://localhost./', 'https://r.example/v2/'],
    ['https://x.localhost/', 'https://r.example/v2/'],
    ['https://2130706433/', 'https://r.example/v2/'],
    ['https://[::ffff:169.254.169.254]/', 'https://r.example/v2/'],
    ['https://[64:ff9b::a9fe:a9fe]/', 'https://r.example/v2/'],
    ['https://[fd00::1]/', 'https://r.example/v2/'],
    ['https://0.0.0.0/', 'https://r.example/v2/'],
    ['https://224.0.0.1/', 'https://r.example/v2/'],
    ['ftp://auth.example/', 'https://r.example/v2/'],
    ['https://u:p@auth.example/', 'https://r.example/v2/'],
  ] as const) {
    it(`refuses ${realm} of ${registry}`, () => assert.throws(check(realm, registry), { code: 'REALM_REFUSED' }));
  }
});

describe('guardedLookup', () => {
  it('gives no link-local address, whatever name leads there', async () => {
    const look = promisify(guardedLookup as (host: string, options: object, done: (error: Error | null, address: unknown) => void) => void);
    await assert.rejects(look('169.254.169.254', {}), /link-local/);
    await assert.rejects(look('fe80::1', { all: true }), /link-local/);
    await assert.rejects(look('64:ff9b::a9fe:a9fe', {}), /link-local/);
    assert.equal(await look('127.0.0.1', {}), '127.0.0.1');
    assert.deepEqual(await look('127.0.0.1', { all: true }), [{ address: '127.0.0.1', family: 4 }]);
  });
});

describe('ProxyRules', () => {
  const proxies = { httpProxy: 'http://plain:1', httpsProxy: 'tls:2' };
  for (const [noProxy, url, want] of [
    ['', 'https://r.example/', 'http://tls:2'],
    ['', 'http://r.example/', 'http://plain:1'],
    ['', 'http://localhost:5000/', undefined],
    ['', 'http://127.8.0.1/', undefined],
    ['', 'https://[::1]/', undefined],
    ['*', 'https://r.example/', undefined],
    ['r.example', 'https://R.example/', undefined],
    ['r.example', 'https://a.r.example/', undefined],
    ['r.example', 'https://other.example/', 'http://tls:2'],
    ['r.example', 'https://not-r.example/', 'http://tls:2'],
    ['.r.example', 'https://r.example/', 'http://tls:2'],
    ['.r.example', 'https://a.r.example/', undefined],
    ['*.r.example', 'https://a.r.example/', undefined],
    ['r.example:5000', 'https://r.example/', 'http://tls:2'],
    ['r.example:5000', 'https://r.example:5000/', undefined],
    ['a.example, 10.0.0.0/8', 'https://10.1.2.3/', undefined],
    ['10.0.0.0/8', 'https://11.1.2.3/', 'http://tls:2'],
    ['fd00::/8', 'https://[fd12::1]/', undefined],
    ['10.1.2.3', 'https://10.1.2.3:5000/', undefined],
    ['10.1.2.3:80', 'https://10.1.2.3/', 'http://tls:2'],
    ['[fd12::1]:443', 'https://[fd12::1]/', undefined],
    ['10.0.0.0/99', 'https://10.0.0.1/', 'http://tls:2'],
  ] as const) {
    it(`NO_PROXY=${noProxy} ${url}`, () => assert.equal(new ProxyRules({ ...proxies, noProxy }).proxyFor(new URL(url)), want));
  }

  it('does not send https through the proxy for http', () => {
    assert.equal(new ProxyRules({ httpProxy: 'http://plain:1' }).proxyFor(new URL('https://r.example/')), undefined);
  });

  it('reads the environment, upper-case names first', () => {
    assert.deepEqual(proxyFromEnv({ HTTPS_PROXY: 'a', https_proxy: 'b', no_proxy: 'c' }), { httpProxy: '', httpsProxy: 'a', noProxy: 'c' });
  });
});

describe('isPlainHttpByDefault', () => {
  for (const [host, want] of [
    ['localhost', true],
    ['localhost:5000', true],
    ['127.0.0.1:5000', true],
    ['127.1.2.3', true],
    ['[::1]:5000', true],
    ['localhost:443', false],
    ['r.example', false],
    ['127.0.0.1.evil.example', false],
    ['10.0.0.1:5000', false],
  ] as const) {
    it(host, () => assert.equal(isPlainHttpByDefault(host), want));
  }
});

describe('readTokenAnswer', () => {
  const read = (answer: unknown) =>
    readTokenAnswer(Buffer.from(JSON.stringify(answer)), 'auth.example', Date.parse('2026-01-01T00:01:00Z')).lifeMs / 1000;
  for (const [answer, want] of [
    [{ token: 't', expires_in: 1e12 }, 86_400],
    [{ token: 't', expires_in: -5 }, 60],
    [{ token: 't', expires_in: 'x' }, 60],
    [{ token: 't', expires_in: null }, 60],
    [{ token: 't', expires_in: 300, issued_at: '2099-01-01T00:00:00Z' }, 300],
    [{ token: 't', expires_in: 300, issued_at: 7 }, 300],
  ] as const) {
    it(JSON.stringify(answer), () => assert.equal(read(answer), want));
  }

  it('refuses what is no token, without quoting it', () => {
    for (const body of ['secret', '"secret"', '{"token":7}', '{"token":""}', '{"token":"sec\\nret"}', '[]']) {
      assert.throws(
        () => readTokenAnswer(Buffer.from(body), 'auth.example', 0),
        (error: Error) => /no token/.test(error.message) && !/sec/.test(error.message),
      );
    }
  });
});
