import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync, inflateSync } from 'node:zlib';
import { PAKO_ENGINE, selectEngine } from '@soci/zlib';
import { ENTRY_TYPE } from './columns.ts';
import { makeTar, someFiles } from './testing/make-layer.ts';
import { scanLayer } from './testing/scan.ts';
import { Ztoc } from './ztoc.ts';

/** Directory, file with PAX records, symbolic and hard link, device; ends in 5120 zero bytes too many. */
const SMALL_TAR = inflateSync(
  Buffer.from(
    'eNrt1j9rhDAYBvDM9ynyCWL+Z7qpyx10KHTqKCi0VCvEWLxvf9EKvTuo7dBYrM9viRiHhMf3TYqMJMcjZ8w4Rrfj+Cy0kdo5rof3QiguCTVkAV0bch+X' +
      '4psmzH333fzt5lbiIe8PZV6UvmU869Plb7X+On97/S/E/K01hPZL5v8bm1xh/lLROrzU5V64aeWCSbOThj7eHY73T6zPQ/Csa0vPXvfvOwL/SpE9l1XV' +
      'sNCHpP1/qn/hzEeJiM9+MMxe9H8x9n8rCOWo/+TG9FHVG67/9lQvcf9z7of3PxnrX3LHCZXpW9Pm6z/2/9wX6fOf7/+X+ashf61j/mKJw2nz+b91VbVA' +
      '/tbO1v/1/Z8raQlV6zv/xTQqAgAAAAAAAAAAAAAA8EfOBWiE2Q==',
    'base64',
  ),
);

describe('LayerScanner', () => {
  it('makes the known zTOC of an uncompressed layer', () => {
    const built = scanLayer(SMALL_TAR, { algorithm: 'uncompressed', spanSize: 4096n });
    assert.equal(built.digest, 'sha256:4d2a76c6b1cdf4c7edded95cc36ea83c7252ab5aa8e37a3b2bc3798363beea0c');
    assert.deepEqual([built.sizeBytes, built.spanCount, built.entryCount, built.uncompressedSizeBytes], [1432, 3, 5, 5120]);
    assert.deepEqual([built.hasXattrs, built.hasOpaque], [true, false]);
  });

  it('says in columns what the headers say', () => {
    const columns = Ztoc.parse(scanLayer(SMALL_TAR, { algorithm: 'uncompressed' }).bytes).columns();
    const text = (start: Uint32Array, end: Uint32Array, i: number) => Buffer.from(columns.bytes.subarray(start[i], end[i])).toString();
    const rows = Array.from({ length: columns.count }, (_, i) => ({
      name: text(columns.nameStart, columns.nameEnd, i),
      link: text(columns.linkStart, columns.linkEnd, i),
      type: columns.type[i],
      offsets: [columns.headerOffsetBytes[i], columns.offsetBytes[i], columns.sizeBytes[i]],
      mode: columns.mode[i],
      owner: [columns.uid[i], columns.gid[i]],
      device: [columns.devMajor[i], columns.devMinor[i]],
      mtime: [columns.mtimeSeconds[i], columns.mtimeNanos[i]],
    }));
    const common = { link: '', owner: [0, 0], device: [0, 0], mtime: [1_700_000_000, 0] };
    assert.deepEqual(rows, [
      { ...common, name: 'd/', type: ENTRY_TYPE.directory, offsets: [0, 512, 0], mode: 0o755 },
      {
        ...common,
        name: 'd/hello.txt',
        type: ENTRY_TYPE.regular,
        offsets: [512, 2048, 6],
        mode: 0o644,
        owner: [1000, 100],
        mtime: [1_700_000_001, 250_000_000],
      },
      {
        ...common,
        name: 'd/sym',
        type: ENTRY_TYPE.symlink,
        offsets: [2560, 3072, 0],
        mode: 0o777,
        link: 'hello.txt',
        mtime: rows[2]?.mtime,
      },
      {
        ...common,
        name: 'd/hard',
        type: ENTRY_TYPE.hardLink,
        offsets: [3072, 3584, 0],
        mode: rows[3]?.mode,
        link: 'd/hello.txt',
        mtime: rows[3]?.mtime,
        owner: rows[3]?.owner,
      },
      { ...common, name: 'd/null', type: ENTRY_TYPE.character, offsets: [3584, 4096, 0], mode: 0o666, device: [1, 3], mtime: [0, 0] },
    ]);
    assert.deepEqual([...columns.xattrCount], [0, 1, 0, 0, 0]);
    assert.deepEqual(
      columns.xattrs(1).map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]),
      [['user.k', 'v']],
    );
  });

  it('makes the same zTOC however the layer is cut, with either engine', async () => {
    const layer = gzipSync(await makeTar(someFiles()), { memLevel: 1 });
    for (const spanSize of [1n, 10_000n, 1n << 62n]) {
      const want = scanLayer(layer, { spanSize });
      for (const engine of [selectEngine(), PAKO_ENGINE]) {
        for (const pieceBytes of [1, 1000, 4096]) assert.equal(scanLayer(layer, { spanSize, engine, pieceBytes }).digest, want.digest);
      }
      assert.equal(Ztoc.parse(want.bytes).spanSize, spanSize);
    }
  });

  it('takes zeros after the last member as part of the last span', async () => {
    const tar = await makeTar(someFiles());
    const layer = Buffer.concat([gzipSync(tar), Buffer.alloc(1000)]);
    const ztoc = Ztoc.parse(scanLayer(layer, {}).bytes);
    assert.equal(ztoc.compressedRange(ztoc.spanCount - 1).endBytes, layer.length);
  });

  it('notices xattrs and opaque whiteouts', async () => {
    const opaque = await makeTar([{ name: 'd/.wh..wh..opq' }]);
    const { hasXattrs, hasOpaque } = scanLayer(opaque, { algorithm: 'uncompressed' });
    assert.deepEqual([hasXattrs, hasOpaque], [false, true]);
  });

  it('tells where spans begin after the end of the tar', async () => {
    const tar = Buffer.concat([await makeTar([{ name: 'f', data: Buffer.from('x') }]), Buffer.alloc(3_000_000)]);
    const ztoc = Ztoc.parse(scanLayer(gzipSync(tar, { memLevel: 1 }), { spanSize: 100_000n }).bytes);
    assert.equal(ztoc.uncompressedSizeBytes, 2048);
    assert.ok(ztoc.streamEndBytes > 1_000_000);
    assert.equal(ztoc.columns().count, 1);
  });

  const broken = [
    { name: 'a cut gzip stream', layer: () => gzipSync(SMALL_TAR).subarray(0, -1), code: 'LAYER_CORRUPT' },
    { name: 'text after the gzip stream', layer: () => Buffer.concat([gzipSync(SMALL_TAR), Buffer.from('x')]), code: 'LAYER_CORRUPT' },
    { name: 'a layer that is not compressed', layer: () => SMALL_TAR, code: 'LAYER_CORRUPT' },
    { name: 'gzip of something else', layer: () => gzipSync(Buffer.alloc(1000, 'x')), code: 'LAYER_CORRUPT' },
    { name: 'a cut tar', layer: () => gzipSync(SMALL_TAR.subarray(0, 2050)), code: 'LAYER_CORRUPT' },
    { name: 'an empty layer', layer: () => Buffer.alloc(0), code: 'LAYER_CORRUPT' },
  ];
  for (const { name, layer, code } of broken)
    it(`refuses ${name}`, () => assert.throws(() => scanLayer(layer()), { name: 'ZtocError', code }));

  it('refuses entries that the format has no name for', async () => {
    const contiguous = await makeTar([{ name: 'f', type: 'contiguous-file' }]);
    assert.throws(() => scanLayer(contiguous, { algorithm: 'uncompressed' }), { code: 'ENTRY_UNSUPPORTED' });
    const sparse = await makeTar([{ name: 'f', pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' } }]);
    assert.throws(() => scanLayer(sparse, { algorithm: 'uncompressed' }), { code: 'SPARSE_UNSUPPORTED' });
  });

  it('refuses to begin with very many empty members, each of which would be a checkpoint', () => {
    const members = (count: number) => Buffer.concat([...Array.from({ length: count }, () => gzipSync('')), gzipSync(SMALL_TAR)]);
    assert.throws(() => scanLayer(members(1100)), { name: 'ZtocError', code: 'TOO_LARGE' });
    assert.equal(scanLayer(members(10)).spanCount, 11);
  });

  it('refuses an absurd number of spans', () => {
    assert.throws(() => scanLayer(Buffer.alloc(2_000_000), { algorithm: 'uncompressed', spanSize: 1n }), { code: 'TOO_LARGE' });
  });
});
