import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { containerdApi, ContainerdImages, ContainerdStore, type ContainerdApi } from '@soci/content';
import { MAX_MANIFEST_BYTES, parseIndex } from '@soci/image';
import { NAMESPACE_HEADER, openChannel } from '@soci/rpc';
import { Containerd } from '@soci/testing';
import { importLayout, unpackGolden } from './testing/golden.ts';
import { containerdOptions, whyNot } from './testing/needs.ts';
import { runSoci } from './testing/run-soci.ts';

const signal = new AbortController().signal;
const SOURCE = 'example.invalid/docker:latest';

describe('soci convert --standalone', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'soci-'));
    await unpackGolden(directory);
  });
  after(() => rm(directory, { recursive: true, force: true }));

  it('writes the layout that the Go tool writes, and needs neither containerd nor a root directory', async () => {
    const out = join(directory, 'out');
    const args = ['convert', '--standalone', '--format', 'oci-dir', '--min-layer-size=0', join(directory, 'layouts/plain'), out];
    const run = await runSoci(['--root', '/proc/nowhere', '--address', '/nowhere', ...args]);
    assert.equal(run.exit, 0, run.stderr);
    assert.equal(run.stdout, await readFile(join(directory, 'golden/plain/convert-default/stdout'), 'utf8'));
    assert.equal(
      await readFile(join(out, 'index.json'), 'utf8'),
      await readFile(join(directory, 'golden/plain/convert-default/index.json'), 'utf8'),
    );
  });

  it('warns of prefetch files that are in no layer, from flags and from a JSON file', async () => {
    const args = [
      'convert',
      '--standalone',
      '--min-layer-size',
      '0',
      '--prefetch-file',
      '/usr/lib/text.txt, nowhere',
      join(directory, 'layouts/plain'),
    ];
    const run = await runSoci([...args, join(directory, 'out.tar')]);
    assert.equal(run.exit, 0, run.stderr);
    assert.match(run.stdout, /^Created prefetch artifact for layer sha256:/m);
    assert.equal(run.stderr, 'soci: warning: prefetch file nowhere not found in any layer\n');
  });

  const mistakes: readonly { readonly args: readonly string[]; readonly says: string }[] = [
    { args: [], says: 'source image needs to be specified' },
    { args: ['a'], says: 'destination needs to be specified' },
    {
      args: ['a', 'example.com/app'],
      says: 'the destination image must be a tagged ref of the form "registry/repository:tag": reference must be tagged',
    },
    { args: ['a', `example.com/app:1@sha256:${'0'.repeat(64)}`], says: 'reference must not contain a digest' },
    { args: ['a', 'http://example.com/app:1'], says: 'could not parse reference: ' },
    { args: ['--standalone', '/no/such/input', '/tmp/never'], says: 'failed to access input /no/such/input' },
    { args: ['--standalone', '--format', 'zip', 'a', 'b'], says: 'unsupported output format "zip": must be "oci-archive" or "oci-dir"' },
    { args: ['--standalone', '--min-layer-size', '-1', 'LAYOUT', 'b'], says: 'min layer size must be >= 0' },
    { args: ['--standalone', '--span-size', '-5', 'LAYOUT', 'b'], says: 'span size must be >= 0' },
    { args: ['--standalone', '--optimizations', 'speed', 'a', 'b'], says: 'optimization speed is not a valid optimization [xattr]' },
    { args: ['--standalone', '-p', 'linux/*', 'a', 'b'], says: 'could not parse platform linux/*: ' },
    {
      args: ['--standalone', '--prefetch-files-json', '/no/such.json', 'a', 'b'],
      says: 'failed to read JSON file: /no/such.json: no such file or directory',
    },
  ];
  for (const { args, says } of mistakes) {
    it(`says what is wrong with ${args.join(' ')}`, async () => {
      const run = await runSoci([
        '--root',
        join(directory, 'root'),
        'convert',
        ...args.map((arg) => arg.replace(/^LAYOUT$/, join(directory, 'layouts/plain'))),
      ]);
      assert.equal(run.exit, 1, run.output);
      assert.ok(run.stderr.includes(says), run.stderr);
      assert.match(run.stderr, /^soci: .*\n$/m);
    });
  }
});

describe('soci convert in containerd', { skip: whyNot() }, () => {
  let directory: string;
  let address: string;
  let api: ContainerdApi;
  const opened = new AsyncDisposableStack();

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'soci-'));
    opened.defer(() => rm(directory, { recursive: true, force: true }));
    await unpackGolden(directory);
    const containerd = opened.use(await Containerd.start(containerdOptions(directory)));
    address = containerd.address;
    api = containerdApi(opened.use(openChannel({ address, headers: { [NAMESPACE_HEADER]: 'default' } })));
    opened.use(await importLayout(api, join(directory, 'layouts/docker'), SOURCE, signal));
  });
  after(() => opened.disposeAsync());

  for (const store of ['containerd', 'soci']) {
    it(`makes an image that stays when the lease is gone, with --content-store ${store}`, async () => {
      const globals = ['--address', address, '--content-store', store, '--root', join(directory, `root-${store}`)];
      const name = `example.invalid/docker:${store}`;
      const run = await runSoci([
        ...globals,
        'convert',
        '-p',
        'linux/amd64',
        '--span-size',
        '65536',
        '--min-layer-size',
        '0',
        SOURCE,
        name,
      ]);
      assert.equal(run.exit, 0, run.stderr);
      await api.leases.create({ id: 'gc', labels: {} }, { signal });
      await api.leases.delete({ id: 'gc', sync: true }, { signal });
      const image = await new ContainerdImages(api).get(name, signal);
      const content = new ContainerdStore({ api });
      const { manifests } = parseIndex(await content.read(image?.target.digest ?? '', MAX_MANIFEST_BYTES, signal));
      const entry = manifests.find(({ artifactType }) => artifactType === 'application/vnd.amazon.soci.index.v2+json');
      assert.notEqual(await content.stat(entry?.digest ?? '', signal), undefined);
      const listed = await runSoci([...globals, 'index', 'list', '--ref', name, '-p', 'linux/amd64']);
      assert.match(listed.stdout, new RegExp(`\n${String(entry?.digest)} .* ${RegExp.escape(name)} .* v2 `), listed.output);
      const ztocs = await runSoci([...globals, 'ztoc', 'list', '--quiet']);
      const [ztoc = ''] = ztocs.stdout.split('\n');
      assert.equal((await runSoci([...globals, 'ztoc', 'info', ztoc])).exit, 0);
      const pushed = await runSoci([...globals, 'push', '-p', 'linux/amd64', name]);
      assert.equal(pushed.exit, 1);
      assert.match(pushed.stdout, /^\[WARN\] Skippping SOCI index manifest v2\. /);
    });
  }

  it('says which socket nobody answers on', async () => {
    const run = await runSoci(['--address', '/no/containerd.sock', '--root', join(directory, 'root'), 'create', SOURCE]);
    assert.equal(run.exit, 1);
    assert.match(
      run.stderr,
      /^soci: image .* containerd does not answer: connect ENOENT \/no\/containerd\.sock \(containerd's socket is .*; --address names another\)\n$/,
    );
  });

  it('ends when the time is over', async () => {
    const globals = ['--timeout', '1ms', '--address', address, '--root', join(directory, 'root')];
    const run = await runSoci([...globals, 'create', '--min-layer-size', '0', SOURCE]);
    assert.equal(run.exit, 1);
    assert.equal(run.stderr, 'soci: not done within 0.001s (--timeout)\n');
  });
});
