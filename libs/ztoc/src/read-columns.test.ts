import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TocColumns } from './columns.ts';
import { type CraftedFile, craftZtoc } from './testing/craft-ztoc.ts';
import { Ztoc } from './ztoc.ts';

function columnsOf(files: readonly CraftedFile[], uncompressedSize = 1 << 20): TocColumns {
  return Ztoc.parse(craftZtoc({ files, uncompressedSize })).columns();
}

function xattrsOf(file: CraftedFile): readonly (readonly [string, string])[] {
  const columns = columnsOf([file]);
  const xattrs = columns.xattrs(0);
  assert.equal(columns.xattrCount[0], xattrs.length);
  return xattrs.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]);
}

describe('columns', () => {
  it('come in the order of the tar, whatever that of the buffer', () => {
    const columns = columnsOf([
      { name: 'third', offset: 4096, size: 1 },
      { name: 'first', offset: 1024, size: 500 },
      { name: 'second', offset: 2048, size: 1000 },
    ]);
    assert.deepEqual([...columns.offsetBytes], [1024, 2048, 4096]);
    assert.deepEqual([...columns.headerOffsetBytes], [0, 1536, 3072]);
  });

  it('take no data from entries that have none, whatever their size says', () => {
    const columns = columnsOf([
      { name: 'd/', type: 'dir', offset: 512, size: 4096 },
      { name: 'f', offset: 1024 },
    ]);
    assert.deepEqual([...columns.headerOffsetBytes], [0, 512]);
    assert.deepEqual([...columns.sizeBytes], [4096, 0]);
  });

  it('hold a link target for links only', () => {
    const columns = columnsOf([
      { type: 'symlink', link: 'target', offset: 512 },
      { type: 'reg', link: 'nonsense', offset: 1024 },
    ]);
    assert.deepEqual(
      [0, 1].map((i) => (columns.linkEnd[i] ?? 0) - (columns.linkStart[i] ?? 0)),
      [6, 0],
    );
  });

  it('keep permission bits only, and read a time that is none as the zero time', () => {
    const columns = columnsOf([{ mode: 0o104755, mtime: 'yesterday' }]);
    assert.equal(columns.mode[0], 0o4755);
    assert.equal(columns.mtimeSeconds[0], -62_135_596_800);
  });

  it('find xattrs among the PAX records, the last of equal keys', () => {
    assert.deepEqual(
      xattrsOf({
        records: [
          ['SCHILY.xattr.user.a', '1'],
          ['mtime', '1.5'],
          ['SCHILY.xattr', ''],
          ['SCHILY.xattr.user.b', ''],
        ],
      }),
      [
        ['user.a', '1'],
        ['user.b', ''],
      ],
    );
    assert.deepEqual(
      xattrsOf({
        records: [
          ['SCHILY.xattr.k', '1'],
          ['SCHILY.xattr.k', '2'],
        ],
      }),
      [['k', '2']],
    );
    assert.deepEqual(xattrsOf({ records: [['path', 'x']] }), []);
  });
});

describe('columns of bytes that lie', () => {
  const cases: { name: string; files: readonly CraftedFile[]; size?: number }[] = [
    { name: 'an unknown type', files: [{ type: 'socket' }] },
    {
      name: 'data that overlaps',
      files: [
        { offset: 1024, size: 500 },
        { offset: 1024, size: 500 },
      ],
    },
    { name: 'no room for a header', files: [{ offset: 512, size: 100 }, { offset: 1024 }] },
    { name: 'a first entry without a header', files: [{ offset: 0 }] },
    { name: 'data that is not on a block border', files: [{ offset: 700 }] },
    { name: 'data past the end', files: [{ offset: 512, size: 2000 }], size: 2000 },
    { name: 'a negative offset', files: [{ offset: -512 }] },
    { name: 'a size beyond 2^53', files: [{ size: 2n ** 62n }] },
  ];
  for (const { name, files, size } of cases) {
    it(`refuse ${name}`, () => assert.throws(() => columnsOf(files, size), { name: 'ZtocError', code: 'INVALID' }));
  }

  it('do not do the work of one entry many times over', () => {
    const records = Array.from({ length: 5000 }, (_, i): [string, string] => [`SCHILY.xattr.${i}`, '']);
    const files = Array.from({ length: 50_000 }, () => ({ records }));
    const before = performance.now();
    assert.throws(() => Ztoc.parse(craftZtoc({ files, shareFiles: true })).columns(), { code: 'INVALID' });
    assert.ok(performance.now() - before < 5000);
  });

  it('do not let many entries share one large xattr: each would stand in the image with all its bytes', () => {
    const records = [['SCHILY.xattr.user.a', 'x'.repeat(60_000)]] as const;
    const files = Array.from({ length: 2000 }, (_, i) => ({ offset: 512 * (i + 1), records }));
    assert.throws(() => columnsOf(files, 2 << 20), { code: 'INVALID' });
    assert.equal(columnsOf(files.slice(0, 3), 2 << 20).xattrs(2).length, 1);
  });
});
