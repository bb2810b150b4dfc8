import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImageError } from './errors.ts';
import { hasDigest, parseContainerdReference, parseReference } from './reference.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;

const valid = [
  { text: 'alpine', full: 'docker.io/library/alpine:latest', familiar: 'alpine:latest' },
  { text: 'alpine:3.20', full: 'docker.io/library/alpine:3.20', familiar: 'alpine:3.20' },
  { text: 'docker.io/alpine', full: 'docker.io/library/alpine:latest', familiar: 'alpine:latest' },
  { text: 'index.docker.io/library/alpine', full: 'docker.io/library/alpine:latest', familiar: 'alpine:latest' },
  { text: 'grafana/grafana', full: 'docker.io/grafana/grafana:latest', familiar: 'grafana/grafana:latest' },
  { text: 'docker.io/library/a/b:x', full: 'docker.io/library/a/b:x', familiar: 'library/a/b:x' },
  { text: 'localhost/foo', full: 'localhost/foo:latest', familiar: 'localhost/foo:latest' },
  { text: 'localhost:5000/foo:v1', full: 'localhost:5000/foo:v1', familiar: 'localhost:5000/foo:v1' },
  { text: '127.0.0.1:5000/a/b_c/d__e/f-g/h--i.j:T_1.0-x', full: '127.0.0.1:5000/a/b_c/d__e/f-g/h--i.j:T_1.0-x' },
  { text: '[::1]:5000/foo', full: '[::1]:5000/foo:latest' },
  { text: 'FOO/bar', full: 'FOO/bar:latest' },
  { text: 'registry.example.com/a:80', full: 'registry.example.com/a:80' },
  { text: `ghcr.io/x/y@${DIGEST}`, full: `ghcr.io/x/y@${DIGEST}` },
  { text: `ghcr.io/x/y:tag@${DIGEST}`, full: `ghcr.io/x/y:tag@${DIGEST}`, canonical: `ghcr.io/x/y@${DIGEST}` },
  { text: `alpine@sha512:${'0'.repeat(128)}`, full: `docker.io/library/alpine@sha512:${'0'.repeat(128)}` },
];

const invalidTexts = [
  '',
  'a'.repeat(2000),
  'ab'.repeat(32),
  'Alpine',
  'docker.io/Alpine',
  'https://ghcr.io/x/y',
  'ghcr.io/x//y',
  'ghcr.io/x/',
  '/x/y',
  'ghcr.io/.x',
  'ghcr.io/x___y',
  'ghcr.io/x:-tag',
  `ghcr.io/x:${'t'.repeat(129)}`,
  'ghcr.io/x@sha256:abcd',
  `ghcr.io/x@sha256:${'AB'.repeat(32)}`,
  `ghcr.io/x@md5:${'ab'.repeat(16)}`,
  'ghcr.io:x/y',
  '-host.example/x',
  'ghcr.io/x y',
  'ghcr.io/x\n',
  `ghcr.io/${'x/'.repeat(130)}x`,
];

describe('parseReference', () => {
  for (const { text, full, familiar, canonical } of valid) {
    it(`takes ${text}`, () => {
      const reference = parseReference(text);
      assert.equal(reference.toString(), full);
      if (familiar !== undefined) assert.equal(reference.familiar(), familiar);
      assert.equal(reference.canonical(), canonical ?? full);
      assert.equal(parseReference(full).toString(), full);
    });
  }

  for (const text of invalidTexts) {
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.throws(() => parseReference(text), ImageError);
    });
  }

  it('gives the parts', () => {
    const { host, repository, tag, digest, name } = parseReference(`localhost:5000/a/b:t@${DIGEST}`);
    assert.deepEqual(
      { host, repository, tag, digest, name },
      { host: 'localhost:5000', repository: 'a/b', tag: 't', digest: DIGEST, name: 'localhost:5000/a/b' },
    );
    assert.ok(!('tag' in parseReference(`a@${DIGEST}`)));
  });

  it('needs no long time for hostile text', () => {
    const started = performance.now();
    for (const text of ['a-'.repeat(500), `${'a'.repeat(1000)}!`, `${'a.'.repeat(500)}/`, `x/${'a__'.repeat(300)}`]) {
      assert.throws(() => parseReference(text), ImageError);
    }
    assert.ok(performance.now() - started < 500);
  });
});

describe('parseContainerdReference', () => {
  const cases = [
    { text: 'ghcr.io/x/y:tag', locator: 'ghcr.io/x/y', object: 'tag' },
    { text: 'localhost:5000/x', locator: 'localhost:5000/x', object: '' },
    { text: `ghcr.io/x@${DIGEST}`, locator: 'ghcr.io/x', object: `@${DIGEST}` },
    { text: `ghcr.io/x:t@${DIGEST}`, locator: 'ghcr.io/x', object: `t@${DIGEST}` },
    { text: 'ghcr.io/Any/Case:T', locator: 'ghcr.io/Any/Case', object: 'T' },
    { text: 'plain', locator: 'plain', object: '' },
  ];
  for (const { text, locator, object } of cases) {
    it(`takes ${text}`, () => assert.deepEqual(parseContainerdReference(text), { locator, object }));
  }

  for (const text of ['', '/x:t', 'http://x/y:t', 'image:tag', 'ho st/x', 'x/y%zz', 'x/\u0000']) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseContainerdReference(text), ImageError);
    });
  }
});

describe('hasDigest', () => {
  it('tells names by digest from names by tag', () => {
    assert.ok(hasDigest(`x@${DIGEST}`));
    assert.ok(!hasDigest('x:tag'));
    assert.ok(!hasDigest(DIGEST));
    assert.ok(!hasDigest('x@sha256:12'));
  });
});
