import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pack } from 'tar-stream';
import { END_OF_ARCHIVE, makeFile, makeHeader, makePax, paxRecord } from './testing/make-tar.ts';
import { type EntryCopy, readTar } from './testing/read-tar.ts';
import { TarParser } from './tar-parser.ts';

const tar = (...parts: Uint8Array[]) => Buffer.concat([...parts, END_OF_ARCHIVE]);

function only(archive: Uint8Array): EntryCopy {
  const { entries } = readTar(archive);
  assert.equal(entries.length, 1);
  return entries[0]!;
}

describe('TarParser: formats', () => {
  it('reads a ustar header', () => {
    const entry = only(tar(makeFile({ name: 'name', prefix: 'some/prefix', mtime: 1_600_000_000 }, 'hello')));
    assert.deepEqual(entry, {
      type: '0',
      name: 'some/prefix/name',
      link: '',
      user: 'root',
      group: '',
      size: 5,
      mode: 0o644,
      uid: 1000,
      gid: 100,
      dev: [0, 0],
      mtime: [1_600_000_000, 0],
      offsets: [0, 512],
      records: {},
    });
  });

  it('takes no prefix from a GNU header, but from those of old Go versions', () => {
    assert.equal(only(tar(makeHeader({ format: 'gnu', prefix: '01234567012\0' }))).name, 'f');
    assert.equal(only(tar(makeHeader({ format: 'gnu', prefix: 'dir/sub' }))).name, 'dir/sub/f');
    assert.equal(only(tar(makeHeader({ format: 'gnu', prefix: 'd\u00e4' }))).name, 'f');
  });

  it('takes 131 bytes of prefix from a STAR header, whose times have to be numbers', () => {
    assert.equal(only(tar(makeHeader({ format: 'star', prefix: 'p'.repeat(131) }))).name, `${'p'.repeat(131)}/f`);
    assert.throws(() => readTar(tar(makeHeader({ format: 'star', patches: { 476: 'xyz' } }))), { code: 'HEADER_INVALID' });
  });

  it('knows no owner and device in a V7 header', () => {
    const entry = only(tar(makeHeader({ format: 'v7', patches: { 265: 'user', 329: 'zzz' } })));
    assert.deepEqual([entry.user, entry.dev], ['', [0, 0]]);
  });

  it('tells old-style directories by the slash', () => {
    assert.deepEqual(
      readTar(tar(makeHeader({ type: '\0', name: 'd/' }), makeHeader({ type: '\0', name: 'f' }), makeHeader({ name: 'x/' }))).entries.map(
        ({ type }) => type,
      ),
      ['5', '0', '0'],
    );
  });

  it('accepts a checksum of signed bytes', () => {
    const header = makeHeader({ name: Buffer.from([0xe9]) });
    header.write(
      `${header
        .subarray(0, 512)
        .reduce((sum, byte, i) => sum + (i >= 148 && i < 156 ? 32 : (byte << 24) >> 24), 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
      'latin1',
    );
    assert.equal(only(tar(header)).name, '\u00e9');
  });
});

describe('TarParser: extension headers', () => {
  it('lets PAX records override and keeps all of them, sorted, the last of equal keys', () => {
    const pax = makeFile(
      { type: 'x' },
      Buffer.concat([
        paxRecord('uid', '5'),
        paxRecord('path', 'a'),
        paxRecord('mtime', '1.5'),
        paxRecord('path', 'long/b'),
        paxRecord('uname', ''),
      ]),
    );
    const entry = only(tar(pax, makeFile({ name: 'short' }, 'x')));
    assert.deepEqual([entry.name, entry.uid, entry.user, entry.mtime, entry.offsets], ['long/b', 5, 'root', [1, 500_000_000], [0, 1536]]);
    assert.deepEqual(Object.entries(entry.records), [
      ['mtime', '1.5'],
      ['path', 'long/b'],
      ['uid', '5'],
      ['uname', ''],
    ]);
  });

  it('skips as much data as the PAX size says', () => {
    const { entries } = readTar(tar(makePax({ size: '700' }), makeHeader({ name: 'big' }), Buffer.alloc(1024), makeFile({ name: 'next' })));
    assert.deepEqual(
      entries.map(({ name, size, offsets }) => [name, size, offsets[1]]),
      [
        ['big', 700, 1536],
        ['next', 0, 3072],
      ],
    );
  });

  it('forgets them after one entry, and the records of a first header at a second', () => {
    const { entries } = readTar(
      tar(makePax({ path: 'one', comment: 'c' }), makePax({ uname: 'u' }), makeFile({ name: 'a' }), makeFile({ name: 'b' })),
    );
    assert.deepEqual(
      entries.map(({ name, user, records }) => [name, user, records]),
      [
        ['a', 'u', { uname: 'u' }],
        ['b', 'root', {}],
      ],
    );
  });

  it('prefers GNU long names to PAX paths, and cuts them at a NUL', () => {
    const long = `${'x'.repeat(300)}\0rest`;
    const entry = only(
      tar(
        makeFile({ type: 'L', format: 'gnu' }, long),
        makeFile({ type: 'K', format: 'gnu' }, 'target\0'),
        makePax({ path: 'p', linkpath: 'l' }),
        makeHeader({ type: '2' }),
      ),
    );
    assert.deepEqual([entry.name, entry.link], ['x'.repeat(300), 'target']);
  });

  it('gives a global header as an entry of its own', () => {
    const { entries } = readTar(
      tar(makeFile({ type: 'g', name: 'pax_global_header' }, paxRecord('comment', 'x')), makeFile({ name: 'f' })),
    );
    assert.deepEqual(
      entries.map(({ type, records }) => [type, records]),
      [
        ['g', { comment: 'x' }],
        ['0', {}],
      ],
    );
  });

  const broken = {
    'length too small': '4 a\n',
    'no length': 'a=b\n',
    'no equals sign': '7 abcd\n',
    'no key': '5 =b\n',
    'no newline': '6 a=bc',
    'length past the end': '99 a=b\n',
    'NUL in a key': '8 a\0b=c\n',
    'NUL in a path': '11 path=\0a\n',
    'bytes left over': '6 a=b\n\0\0',
    'time that is none': '12 mtime=ab\n',
    'negative size': '11 size=-1\n',
  };
  for (const [name, payload] of Object.entries(broken)) {
    it(`refuses a PAX header with ${name}`, () => {
      assert.throws(() => readTar(tar(makeFile({ type: 'x' }, Buffer.from(payload)), makeFile({}))), {
        name: 'TarError',
        code: 'HEADER_INVALID',
      });
    });
  }

  it('refuses sparse files of all formats', () => {
    for (const records of [
      { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' },
      { 'GNU.sparse.map': '0,1' },
      { 'GNU.sparse.offset': '0' },
    ]) {
      assert.throws(() => readTar(tar(makePax(records), makeFile({}))), { code: 'SPARSE_UNSUPPORTED' });
    }
    assert.throws(() => readTar(tar(makeHeader({ type: 'S', format: 'gnu' }))), { code: 'SPARSE_UNSUPPORTED' });
    assert.equal(only(tar(makePax({ 'GNU.sparse.major': '2' }), makeFile({}))).type, '0');
  });

  it('refuses extensions over 1 MiB before reading them', () => {
    assert.throws(() => readTar(makeHeader({ type: 'x', sizeBytes: (1 << 20) + 1 })), { code: 'EXTENSION_TOO_LARGE' });
  });
});

describe('TarParser: ends', () => {
  const file = makeFile({}, 'abc');

  it('ends after the second block of zeros, and ignores what follows', () => {
    assert.equal(readTar(Buffer.concat([file, Buffer.alloc(10240), Buffer.from('garbage')])).endBytes, 2048);
  });

  const whole = {
    'after a file': file,
    'after one block of zeros': Buffer.concat([file, Buffer.alloc(512)]),
    'inside the padding': file.subarray(0, 600),
    'at once': Buffer.alloc(0),
  };
  for (const [name, archive] of Object.entries(whole)) it(`may end ${name}`, () => assert.equal(readTar(archive).endBytes, archive.length));

  const cut = {
    'inside data': file.subarray(0, 514),
    'inside a header': Buffer.concat([file, Buffer.alloc(100)]),
    'inside an extension': makePax({ path: 'x' }).subarray(0, 515),
  };
  for (const [name, archive] of Object.entries(cut))
    it(`may not end ${name}`, () => assert.throws(() => readTar(archive), { code: 'TRUNCATED' }));

  it('refuses a header after one block of zeros', () => {
    assert.throws(() => readTar(Buffer.concat([file, Buffer.alloc(512), file])), { code: 'HEADER_INVALID' });
  });

  it('skips no data of entries that have none', () => {
    const { entries } = readTar(tar(makeHeader({ type: '5', sizeBytes: 4096 }), makeFile({ name: 'next' })));
    assert.deepEqual(
      entries.map(({ name, size }) => [name, size]),
      [
        ['f', 4096],
        ['next', 0],
      ],
    );
  });

  it('reads one entry somewhere in a stream after a reset', () => {
    const offsets: number[][] = [];
    const parser = new TarParser((entry) => void offsets.push([entry.headerOffsetBytes, entry.offsetBytes]));
    parser.push(makePax({ path: 'x' }));
    parser.reset(4096);
    parser.push(makePax({ path: 'y' }));
    parser.push(makeHeader({}));
    assert.deepEqual(offsets, [[4096, 5632]]);
  });
});

describe('TarParser: against tar-stream, in pieces', () => {
  const files = Array.from({ length: 60 }, (_, i) => ({
    name: i % 7 === 0 ? `${'deep/'.repeat(60)}é-${i}` : `dir/${i}`,
    type: (['file', 'directory', 'symlink', 'link', 'character-device', 'fifo'] as const)[i % 6]!,
    mode: 0o600 + i,
    uid: i * 4000,
    gid: i,
    mtime: new Date((1_600_000_000 + i) * 1000),
    linkname: `target-${i}`,
    devmajor: i,
    devminor: 2,
    uname: 'someone',
    ...(i % 5 === 0 ? { pax: { 'SCHILY.xattr.user.n': `value ${i}` } } : {}),
  }));

  async function archive(): Promise<Buffer> {
    const stream = pack();
    for (const [i, file] of files.entries()) stream.entry(file, file.type === 'file' ? Buffer.alloc(i * 37, i) : '');
    stream.finalize();
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(Buffer.from(chunk as Uint8Array));
    return Buffer.concat(chunks);
  }

  for (const pieceBytes of [1, 100, 511, 512, 513, 4096, 1 << 20]) {
    it(`pieces of ${pieceBytes} bytes`, async () => {
      const { entries } = readTar(await archive(), pieceBytes);
      assert.equal(entries.length, files.length);
      for (const [i, { name, type, mode, uid, gid, mtime, linkname }] of files.entries()) {
        const entry = entries[i]!;
        const utf8 = (text: string) => Buffer.from(text, 'latin1').toString('utf8');
        assert.equal(utf8(entry.name).replace(/\/$/, ''), name);
        assert.deepEqual(
          [entry.mode, entry.uid, entry.gid, entry.mtime[0], entry.user],
          [mode, uid, gid, mtime.getTime() / 1000, 'someone'],
        );
        if (type === 'symlink' || type === 'link') assert.equal(entry.link, linkname);
        if (type === 'file') assert.equal(entry.size, i * 37);
        if (i % 5 === 0) assert.equal(entry.records['SCHILY.xattr.user.n'], `value ${i}`);
      }
    });
  }

  it('gives a TarError or entries for any damage, never anything else', async () => {
    const good = await archive();
    let state = 1;
    const random = (below: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 300; round++) {
      const bad = Buffer.from(good.subarray(0, random(good.length)));
      for (let n = 0; n < 3 && bad.length > 0; n++) bad[random(bad.length)] = random(256);
      try {
        readTar(bad, 1000);
      } catch (error) {
        assert.equal((error as Error).name, 'TarError');
      }
    }
  });
});
