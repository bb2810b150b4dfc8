import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, type TestContext } from 'node:test';
import { type Artifact, ArtifactsDb } from './artifacts-db.ts';

const digest = (hex: string): string => `sha256:${hex.repeat(64).slice(0, 64)}`;

const ztoc: Artifact = {
  digest: digest('b'),
  kind: 'ztoc',
  sizeBytes: 99_752,
  originalDigest: digest('1'),
  imageDigest: '',
  platform: '',
  location: digest('1'),
  mediaType: 'application/octet-stream',
  artifactType: '',
  createdAt: new Date(1_700_000_000_123),
  spanSizeBytes: 4_194_304n,
};
const index: Artifact = {
  ...ztoc,
  digest: digest('a'),
  kind: 'index',
  originalDigest: digest('2'),
  imageDigest: digest('3'),
  platform: 'linux/arm64/v8',
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  artifactType: 'application/vnd.amazon.soci.index.v1+json',
  spanSizeBytes: 0n,
};

function tempPath(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'soci-db-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, 'artifacts.sqlite');
}

describe('ArtifactsDb', () => {
  it('keeps what it was given, across openings, in a private file', (t) => {
    const path = tempPath(t);
    {
      using db = ArtifactsDb.open(path);
      db.put(ztoc);
      db.put(index);
    }
    using db = ArtifactsDb.open(path);
    assert.deepEqual(db.list(), [index, ztoc]);
    assert.deepEqual(db.get(ztoc.digest), ztoc);
    assert.equal(db.get(digest('f')), undefined);
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  it('filters', (t) => {
    using db = ArtifactsDb.open(tempPath(t));
    db.put(ztoc);
    db.put(index);
    assert.deepEqual(db.list({ kind: 'index', platform: 'linux/arm64/v8' }), [index]);
    assert.deepEqual(db.list({ originalDigest: index.originalDigest, kind: 'ztoc' }), []);
    assert.deepEqual(db.list({ imageDigest: digest('3') }), [index]);
    assert.deepEqual(db.list({ platform: "' OR 1=1 --" }), []);
  });

  it('finds a ztoc by layer and span size, any int64', (t) => {
    using db = ArtifactsDb.open(tempPath(t));
    const huge = { ...ztoc, digest: digest('c'), spanSizeBytes: 9_223_372_036_854_775_807n };
    db.put(ztoc);
    db.put(huge);
    assert.deepEqual(db.findZtoc(digest('1'), 4_194_304n), ztoc);
    assert.deepEqual(db.findZtoc(digest('1'), 9_223_372_036_854_775_807n), huge);
    assert.equal(db.findZtoc(digest('1'), 65_536n), undefined);
    assert.equal(db.findZtoc(digest('4'), 4_194_304n), undefined);
  });

  it('keeps an index once, and a prefetch artifact once for each layer', (t) => {
    using db = ArtifactsDb.open(tempPath(t));
    db.put(index);
    db.put({ ...index, originalDigest: digest('9') });
    const prefetch = { ...ztoc, kind: 'prefetch' as const, digest: digest('d') };
    db.put(prefetch);
    db.put({ ...prefetch, originalDigest: digest('5') });
    db.put(prefetch);
    assert.deepEqual(
      db.list({ kind: 'index' }).map(({ originalDigest }) => originalDigest),
      [digest('9')],
    );
    assert.equal(db.list({ kind: 'prefetch' }).length, 2);
    assert.ok(db.delete(prefetch.digest));
    assert.ok(!db.delete(prefetch.digest));
    assert.equal(db.list({ kind: 'prefetch' }).length, 0);
  });

  it('is used by two at once', (t) => {
    const path = tempPath(t);
    using one = ArtifactsDb.open(path);
    using two = ArtifactsDb.open(path);
    one.put(ztoc);
    two.put(index);
    assert.deepEqual(one.list(), two.list());
  });

  it('refuses a file of a newer version, a file that is none, and a folder that is not there', (t) => {
    const path = tempPath(t);
    const newer = new DatabaseSync(path);
    newer.exec('PRAGMA user_version = 99');
    newer.close();
    assert.throws(() => ArtifactsDb.open(path), { code: 'DATABASE_UNUSABLE', message: /newer version/ });
    const text = tempPath(t);
    writeFileSync(text, 'not a database, but long enough to be looked at as one '.repeat(100));
    assert.throws(() => ArtifactsDb.open(text), { code: 'DATABASE_UNUSABLE' });
    assert.throws(() => ArtifactsDb.open(join(tempPath(t), 'no/such')), { code: 'DATABASE_UNUSABLE' });
  });
});
