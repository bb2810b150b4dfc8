import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { basic, Keyring } from './index.ts';
import { matchesLabel } from './label-pattern.ts';

function keyring(...keys: readonly string[]): Keyring {
  return new Keyring(keys.map((key, i) => ({ key, candidate: { credential: basic(key, 'pw'), entry: `${i}` } })));
}

function matched(ring: Keyring, host: string, repository = 'team/app'): readonly string[] {
  return Array.from(ring.match(host, repository), ({ credential }) =>
    credential.kind === 'basic' ? credential.username : credential.kind,
  );
}

describe('keyring', () => {
  it('keeps the order in which entries of one key were given', () => {
    const ring = new Keyring(
      ['first', 'second', 'third'].map((name) => ({ key: 'a.example', candidate: { credential: basic(name, 'pw'), entry: name } })),
    );
    assert.deepEqual(matched(ring, 'a.example'), ['first', 'second', 'third']);
  });

  it('finds an IPv6 address with and without a port', () => {
    assert.deepEqual(matched(keyring('[::1]:5000', '[::1]'), '[::1]:5000'), ['[::1]:5000']);
    assert.deepEqual(matched(keyring('[::1]:5000', '[::1]'), '[::1]'), ['[::1]']);
  });

  it('takes Hub by each of its names, and its old key only where nothing else matches', () => {
    for (const host of ['docker.io', 'registry-1.docker.io', 'index.docker.io']) {
      assert.deepEqual(matched(keyring('https://index.docker.io/v1/'), host), ['https://index.docker.io/v1/']);
      assert.deepEqual(matched(keyring('https://index.docker.io/v1/', 'docker.io/team'), host), ['docker.io/team']);
    }
  });

  it('gives a key for another path, another port or a part of a name to nobody', () => {
    const ring = keyring('a.example/other', 'a.example:443', 'example', '*.a.example', '*');
    assert.deepEqual(matched(ring, 'a.example'), []);
  });

  it('takes names of object members for ordinary keys', () => {
    const ring = keyring('__proto__', 'constructor');
    assert.deepEqual(matched(ring, 'constructor'), ['constructor']);
    assert.deepEqual(matched(ring, '__proto__'), ['__proto__']);
  });

  it('gives the same whether entries come at once or one after the other, and after others have gone', () => {
    const keys = [
      'a.example',
      '*.example',
      'a.example/team',
      '*.example/team',
      '?.example/te',
      'https://a.example/v1/',
      'a.example/team/app',
      'a.*',
    ];
    const all = matched(keyring(...keys), 'a.example');
    assert.deepEqual(all, [
      'a.example/team/app',
      'a.example/team',
      'a.example',
      'https://a.example/v1/',
      'a.*',
      '?.example/te',
      '*.example/team',
      '*.example',
    ]);
    const ring = new Keyring();
    for (const [i, key] of [...keys.entries()].reverse())
      ring.set(`${i}`, [{ key, candidate: { credential: basic(key, 'pw'), entry: key } }]);
    for (const key of keys) ring.set(`x ${key}`, [{ key, candidate: { credential: basic('x', 'pw'), entry: key } }]);
    for (const key of keys) ring.set(`x ${key}`, []);
    assert.deepEqual(matched(ring, 'a.example'), all);
    assert.equal([...ring.match('a.example', 'team/app', (owner) => owner === '3')].length, 1);
    for (const i of keys.keys()) ring.set(`${i}`, []);
    assert.deepEqual(matched(ring, 'a.example'), []);
  });

  it('finds one host among ten thousand, and five logins among ten thousand for one host, in far less than a millisecond or two', () => {
    const hosts = keyring(...Array.from({ length: 10_000 }, (_, i) => `${i % 100 === 0 ? '*.' : 'r.'}h${i}.example`));
    const same = keyring(...Array.from({ length: 10_000 }, () => 'a.example'));
    for (const [ring, host, repository] of [
      [hosts, 'r.h4711.example', 'app'],
      [same, 'a.example', 'app'],
    ] as const) {
      const begin = performance.now();
      for (let i = 0; i < 20; i++) assert.ok(ring.match(host, repository).next().done !== true);
      assert.ok((performance.now() - begin) / 20 < 10, 'generous, for machines that are busy');
    }
  });

  it('is quick and matches nothing for a key made to be slow', () => {
    const begin = performance.now();
    const ring = keyring(`${'*a'.repeat(900)}b.example`, 'x'.repeat(1 << 20));
    assert.deepEqual(matched(ring, `${'a'.repeat(250)}.example`), []);
    assert.ok(performance.now() - begin < 500);
  });
});

describe('pattern of a label', () => {
  for (const [pattern, label, expected] of [
    ['*', 'registry', true],
    ['*', '', true],
    ['r*y', 'registry', true],
    ['*st*', 'registry', true],
    ['r?gistry', 'registry', true],
    ['?', '', false],
    ['r[a-f]gistry', 'registry', true],
    ['r[^a-f]gistry', 'registry', false],
    ['r[^x]gistry', 'registry', true],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['Registry', 'registry', false],
    ['registry[', 'registry', false],
    ['[a', 'a', false],
    ['[]a]', 'a', false],
    ['[a-]', 'a', false],
    ['a\\', 'a', false],
  ] as const) {
    it(`${pattern} ${expected ? 'matches' : 'does not match'} ${label || 'nothing'}`, () => {
      assert.equal(matchesLabel(pattern, label), expected);
    });
  }
});
