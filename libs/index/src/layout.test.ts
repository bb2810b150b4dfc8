import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { type Descriptor, encodeIndex, encodeManifest, MEDIA_TYPE, sha256Digest } from '@soci/image';
import { collectLogs } from '@soci/log';
import { pack } from 'tar-stream';
import { type ArchiveEntry, writeArchive } from './archive-writer.ts';
import { convertLayout, type ConvertLayoutOptions } from './convert-layout.ts';
import { listLayoutArchive } from './layout-archive.ts';
import { copyLayout } from './layout-output.ts';
import { listLayoutFolder, readLayoutFile } from './layout-source.ts';

const signal = new AbortController().signal;

function tempFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'soci-layout-'));
  t.after(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

function put(folder: string, name: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), content);
}

function addBlob(folder: string, mediaType: string, content: string | Uint8Array): Descriptor {
  const bytes = Buffer.from(content);
  const digest = sha256Digest(bytes);
  put(folder, `blobs/${digest.replace(':', '/')}`, bytes);
  return { mediaType, digest, size: bytes.length };
}

/** A layout with one image of two layers and a blob that nothing reaches. @returns the image's manifest */
function makeLayout(folder: string, layers: readonly string[] = ['one', 'two']): Descriptor {
  const config = addBlob(folder, MEDIA_TYPE.ociConfig, '{"os":"linux","architecture":"amd64"}');
  const descriptors = layers.map((text) => addBlob(folder, MEDIA_TYPE.ociLayerGzip, text));
  const manifest = addBlob(
    folder,
    MEDIA_TYPE.ociManifest,
    encodeManifest({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociManifest, config, layers: descriptors }),
  );
  addBlob(folder, 'x', 'stale');
  put(folder, 'oci-layout', '{"imageLayoutVersion":"1.0.0"}');
  put(folder, 'index.json', encodeIndex({ schemaVersion: 2, manifests: [manifest] }));
  return manifest;
}

function options(input: string, output: string, more: Partial<ConvertLayoutOptions> = {}): ConvertLayoutOptions {
  return {
    input,
    output,
    format: 'oci-dir',
    minLayerSizeBytes: 0,
    log: collectLogs().log,
    builder: {
      async build(source) {
        const chunks: Uint8Array[] = [];
        if ('stream' in source) for await (const chunk of source.stream) chunks.push(chunk);
        else chunks.push(readFileSync(source.path));
        const bytes = Buffer.from(`ztoc of ${Buffer.concat(chunks).toString()}`);
        return { bytes, digest: sha256Digest(bytes), hasXattrs: false, hasOpaque: false };
      },
    },
    ...more,
  };
}

function blobsOf(layout: string): readonly string[] {
  return readdirSync(join(layout, 'blobs/sha256')).sort();
}

function has(layout: string, text: string): boolean {
  return existsSync(join(layout, 'blobs/sha256', sha256Digest(Buffer.from(text)).slice(7)));
}

async function makeArchive(path: string, layout: string): Promise<void> {
  const files = await listLayoutFolder(layout, signal);
  const archive = pack();
  for (const [name, file] of files) archive.entry({ name: `./${name}` }, Buffer.from(await readLayoutFile(file, 1 << 20, signal)));
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  writeFileSync(path, Buffer.concat(chunks));
}

describe('convertLayout to a folder', () => {
  it('copies what the input held and adds what is new', async (t) => {
    const folder = tempFolder(t);
    makeLayout(join(folder, 'in'));
    const { target } = await convertLayout(options(join(folder, 'in'), join(folder, 'deep/er/out')), signal);
    const out = join(folder, 'deep/er/out');
    assert.ok(['one', 'two', 'stale', 'ztoc of one', 'ztoc of two', '{}'].every((text) => has(out, text)));
    for (const hex of blobsOf(out))
      assert.equal(
        createHash('sha256')
          .update(readFileSync(join(out, 'blobs/sha256', hex)))
          .digest('hex'),
        hex,
      );
    assert.deepEqual(JSON.parse(readFileSync(join(out, 'index.json'), 'utf8')), {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociIndex,
      manifests: [{ mediaType: MEDIA_TYPE.ociIndex, digest: target.digest, size: target.size }],
    });
    assert.deepEqual(readdirSync(dirname(out)), ['out']);
    assert.equal(statSync(out).mode & 0o755, 0o755);
    assert.notEqual(statSync(join(out, 'oci-layout')).ino, statSync(join(folder, 'in/oci-layout')).ino);
  });

  it('gives the same image from a folder and from an archive, in both formats', async (t) => {
    const folder = tempFolder(t);
    makeLayout(join(folder, 'in'));
    await makeArchive(join(folder, 'in.tar'), join(folder, 'in'));
    const digests = new Set<string>();
    for (const input of ['in', 'in.tar']) {
      for (const format of ['oci-dir', 'oci-archive'] as const) {
        const output = join(folder, `${input}-${format}`);
        digests.add((await convertLayout(options(join(folder, input), output, { format }), signal)).target.digest);
      }
    }
    assert.equal(digests.size, 1);
    assert.deepEqual(blobsOf(join(folder, 'in-oci-dir')), blobsOf(join(folder, 'in.tar-oci-dir')));
    assert.deepEqual(readFileSync(join(folder, 'in-oci-archive')), readFileSync(join(folder, 'in.tar-oci-archive')));
    const listed = await listLayoutArchive(join(folder, 'in-oci-archive'), signal);
    assert.ok(!listed.has(`blobs/sha256/${sha256Digest(Buffer.from('stale')).slice(7)}`));
    assert.ok(listed.has(`blobs/sha256/${sha256Digest(Buffer.from('ztoc of two')).slice(7)}`));
  });

  it('may replace its own input, a folder or an archive', async (t) => {
    const folder = tempFolder(t);
    makeLayout(join(folder, 'in'));
    await makeArchive(join(folder, 'in.tar'), join(folder, 'in'));
    const first = await convertLayout(options(join(folder, 'in'), join(folder, 'in')), signal);
    const second = await convertLayout(options(join(folder, 'in.tar'), join(folder, 'in.tar'), { format: 'oci-archive' }), signal);
    assert.equal(first.target.digest, second.target.digest);
    const again = await convertLayout(options(join(folder, 'in'), join(folder, 'in')), signal);
    assert.equal(again.target.digest, first.target.digest);
    assert.deepEqual(readdirSync(folder).sort(), ['in', 'in.tar']);
  });

  it('replaces an older layout and an empty folder, and nothing else', async (t) => {
    const folder = tempFolder(t);
    makeLayout(join(folder, 'in'));
    put(folder, 'home/precious', 'x');
    put(folder, 'file', 'x');
    mkdirSync(join(folder, 'empty'));
    makeLayout(join(folder, 'older'), ['other']);
    for (const output of ['home', 'file']) {
      await assert.rejects(convertLayout(options(join(folder, 'in'), join(folder, output)), signal), { code: 'OUTPUT_REFUSED' });
    }
    for (const output of ['empty', 'older']) await convertLayout(options(join(folder, 'in'), join(folder, output)), signal);
    assert.ok(!has(join(folder, 'older'), 'other'));
    assert.equal(readFileSync(join(folder, 'home/precious'), 'utf8'), 'x');
    assert.deepEqual(readdirSync(folder).sort(), ['empty', 'file', 'home', 'in', 'older']);
  });

  it('leaves nothing behind when it fails', async (t) => {
    const folder = tempFolder(t);
    makeLayout(join(folder, 'in'));
    makeLayout(join(folder, 'out'), ['other']);
    const failing = { builder: { build: () => Promise.reject(new Error('no')) } };
    for (const format of ['oci-dir', 'oci-archive'] as const) {
      const output = join(folder, format === 'oci-dir' ? 'out' : 'out.tar');
      await assert.rejects(convertLayout(options(join(folder, 'in'), output, { ...failing, format }), signal), { code: 'BUILD_FAILED' });
    }
    assert.deepEqual(readdirSync(folder).sort(), ['in', 'out']);
    assert.ok(has(join(folder, 'out'), 'other'));
  });

  it('follows blobs that are symbolic links', async (t) => {
    const folder = tempFolder(t);
    makeLayout(join(folder, 'in'));
    const name = join(folder, 'in/blobs/sha256', sha256Digest(Buffer.from('one')).slice(7));
    put(folder, 'elsewhere', readFileSync(name));
    rmSync(name);
    symlinkSync('../../../elsewhere', name);
    await convertLayout(options(join(folder, 'in'), join(folder, 'out')), signal);
    assert.ok(has(join(folder, 'out'), 'one'));
  });
});

describe('the image that a layout holds', () => {
  const platform = (architecture: string): Pick<Descriptor, 'platform'> => ({ platform: { os: 'linux', architecture } });
  const digestOf = async (folder: string, more: Partial<ConvertLayoutOptions> = {}): Promise<string> =>
    (await convertLayout(options(folder, `${folder}-out`, { platforms: [{ os: 'linux', architecture: 'amd64' }], ...more }), signal)).target
      .digest;

  it('is a nested index, or index.json itself, or the one manifest that is here', async (t) => {
    const folder = join(tempFolder(t), 'in');
    const manifest = { ...makeLayout(folder), ...platform('amd64') };
    const absent = { ...manifest, digest: `sha256:${'0'.repeat(64)}`, ...platform('arm64') };
    const single = await digestOf(folder);
    put(folder, 'index.json', encodeIndex({ schemaVersion: 2, manifests: [manifest, absent] }));
    assert.equal(await digestOf(folder), single);
    put(
      folder,
      'index.json',
      encodeIndex({
        schemaVersion: 2,
        manifests: [addBlob(folder, MEDIA_TYPE.ociIndex, encodeIndex({ schemaVersion: 2, manifests: [absent, manifest] }))],
      }),
    );
    assert.equal(await digestOf(folder), single);
    put(folder, 'index.json', encodeIndex({ schemaVersion: 2, manifests: [manifest, { ...manifest, ...platform('s390x') }] }));
    assert.notEqual(await digestOf(folder), single);
  });

  const broken: { name: string; index: string | undefined }[] = [
    { name: 'no index.json', index: undefined },
    { name: 'no manifests', index: '{"schemaVersion":2,"manifests":[]}' },
    {
      name: 'nothing that is here',
      index: `{"schemaVersion":2,"manifests":[${Array(2)
        .fill(`{"mediaType":"m","digest":"sha256:${'1'.repeat(64)}","size":1}`)
        .join(',')}]}`,
    },
  ];
  for (const { name, index } of broken) {
    it(`is none: ${name}`, async (t) => {
      const folder = join(tempFolder(t), 'in');
      makeLayout(folder);
      if (index === undefined) rmSync(join(folder, 'index.json'));
      else put(folder, 'index.json', index);
      await assert.rejects(digestOf(folder), { code: 'LAYOUT_INVALID' });
    });
  }

  it('is refused when index.json is no index, a blob is not its digest, or a digest is a path', async (t) => {
    const folder = join(tempFolder(t), 'in');
    const manifest = makeLayout(folder);
    put(folder, `blobs/${manifest.digest.replace(':', '/')}`, '{}');
    await assert.rejects(digestOf(folder), { code: 'DIGEST_MISMATCH' });
    put(folder, 'index.json', '{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:../../../etc/passwd","size":1}]}');
    await assert.rejects(digestOf(folder), { code: 'DOCUMENT_INVALID' });
    put(folder, 'index.json', 'nothing');
    await assert.rejects(digestOf(folder), { code: 'DOCUMENT_INVALID' });
    await assert.rejects(digestOf(`${folder}/none`), { code: 'LAYOUT_INVALID', message: /failed to access input/ });
  });
});

describe('archives', () => {
  it('are written as containerd writes them, with PAX headers where ustar has no room', async (t) => {
    const folder = tempFolder(t);
    const blob = Buffer.from('blob');
    put(folder, 'blob', blob);
    const long = `blobs/sha512/${createHash('sha512').update(blob).digest('hex')}`;
    const entries: ArchiveEntry[] = [
      { name: 'index.json', kind: 'bytes', bytes: Buffer.from('{}'), mode: 0o644 },
      { name: 'blobs/', kind: 'folder' },
      {
        name: long,
        kind: 'blob',
        digest: `sha512:${long.slice(13)}`,
        file: { path: join(folder, 'blob'), offsetBytes: 0, sizeBytes: 4, whole: true },
      },
    ];
    await writeArchive(join(folder, 'a.tar'), entries, signal);
    const bytes = readFileSync(join(folder, 'a.tar'));
    assert.equal(bytes.length % 512, 0);
    assert.equal(bytes.toString('latin1', 0, 6), 'blobs/');
    const listed = await listLayoutArchive(join(folder, 'a.tar'), signal);
    assert.deepEqual([...listed.keys()], [long, 'index.json']);
    const file = listed.get(long);
    assert.ok(file);
    assert.deepEqual(Buffer.from(await readLayoutFile(file, 100, signal)), blob);
    const other: ArchiveEntry[] = [
      {
        name: 'x',
        kind: 'blob',
        digest: sha256Digest(Buffer.from('other')),
        file: { path: join(folder, 'blob'), offsetBytes: 0, sizeBytes: 4, whole: true },
      },
    ];
    await assert.rejects(writeArchive(join(folder, 'b.tar'), other, signal), { code: 'LAYOUT_INVALID' });
    assert.ok(!existsSync(join(folder, 'b.tar')));
    await assert.rejects(writeArchive(folder, entries, signal), { code: 'OUTPUT_REFUSED' });
  });

  it('are read with links, long names and names that climb out', async (t) => {
    const folder = tempFolder(t);
    const archive = pack();
    const long = `${'d/'.repeat(80)}${'f'.repeat(120)}`;
    archive.entry({ name: 'a/b' }, 'old');
    archive.entry({ name: '../../a/b' }, 'new');
    archive.entry({ name: 'a/sym', type: 'symlink', linkname: '../a/b' });
    archive.entry({ name: 'hard', type: 'link', linkname: 'a/b' });
    archive.entry({ name: 'dangling', type: 'symlink', linkname: 'nowhere' });
    archive.entry({ name: long }, 'long');
    archive.entry({ name: 'gone' }, 'x');
    archive.entry({ name: 'gone', type: 'directory' });
    archive.finalize();
    const chunks: Buffer[] = [];
    for await (const chunk of archive) chunks.push(chunk as Buffer);
    writeFileSync(join(folder, 'a.tar'), Buffer.concat(chunks));
    const files = await listLayoutArchive(join(folder, 'a.tar'), signal);
    await copyLayout(files, join(folder, 'out'), signal);
    const read = (name: string): string => readFileSync(join(folder, 'out', name), 'utf8');
    assert.deepEqual(['a/b', 'a/sym', 'hard', long].map(read), ['new', 'new', 'new', 'long']);
    assert.ok(!files.has('dangling') && !files.has('gone'));
  });

  it('are refused when they are none', async (t) => {
    const folder = tempFolder(t);
    makeLayout(join(folder, 'in'));
    await makeArchive(join(folder, 'good.tar'), join(folder, 'in'));
    const good = readFileSync(join(folder, 'good.tar'));
    const changed = (at: number, byte: number): Buffer => {
      const copy = Buffer.from(good);
      copy[at] = byte;
      return copy;
    };
    const cases = {
      'a text': Buffer.alloc(2000, 'x'),
      gzip: Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(2000)]),
      'cut short': good.subarray(0, 520),
      'a broken header': changed(100, 0xff),
    };
    for (const [name, bytes] of Object.entries(cases)) {
      writeFileSync(join(folder, 'bad.tar'), bytes);
      await assert.rejects(listLayoutArchive(join(folder, 'bad.tar'), signal), { code: 'LAYOUT_INVALID' }, name);
    }
    writeFileSync(join(folder, 'bad.tar'), '');
    assert.equal((await listLayoutArchive(join(folder, 'bad.tar'), signal)).size, 0);
  });
});
