import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseArgs } from 'node:util';
import { zstdDecompressSync } from 'node:zlib';
import { collectLogs } from '@soci/log';
import { type Descriptor, encodeIndex, parseIndex, parsePlatform, sha256Digest } from '@soci/image';
import { ZtocBuilder } from '@soci/ztoc';
import { annotation, ATTESTATION_REFERENCE } from './annotations.ts';
import { ArtifactsDb } from './artifacts-db.ts';
import { type BuildSettings, parseOptimization } from './build-options.ts';
import { convertLayout, type LayoutFormat } from './convert-layout.ts';
import { createIndexes, type PlatformChoice } from './create.ts';
import { type BuildEvent, formatBuildEvent } from './events.ts';
import { resolveLayoutRoot } from './layout-root.ts';
import { listLayoutFolder } from './layout-source.ts';
import { LayoutStore } from './layout-store.ts';

interface GoldenCase {
  readonly command: string;
  readonly exit?: number;
  readonly 'index.json'?: string;
  readonly new?: Readonly<Record<string, readonly string[]>>;
}

const ARCHIVE = join(import.meta.dirname, '../testdata/golden.tar.zst');
const signal = new AbortController().signal;
const table = JSON.parse(await goldenTable()) as Record<string, Record<string, GoldenCase>>;
const cases = Object.entries(table).flatMap(([image, runs]) => Object.entries(runs).map(([name, golden]) => ({ image, name, golden })));

const builder = new ZtocBuilder();
let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'soci-golden-'));
  await untar(['-C', root]);
});
after(async () => {
  await builder[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

describe('soci convert --standalone, against the Go tool', () => {
  for (const { image, name, golden } of cases.filter(({ name }) => name.startsWith('convert'))) {
    it(`${image} ${name}`, async (t) => {
      const out = await mkdtemp(join(root, 'out-'));
      t.after(() => rm(out, { recursive: true, force: true }));
      const { options, format } = readCommand(golden.command);
      const events: BuildEvent[] = [];
      const run = convertLayout(
        {
          ...options,
          format,
          input: join(root, 'layouts', image),
          output: join(out, 'oci'),
          builder,
          log: collectLogs().log,
          onEvent: (event) => events.push(event),
        },
        signal,
      );
      if (golden.exit !== undefined) {
        await assert.rejects(run, { code: 'EMPTY_INDEX' });
        assert.deepEqual(await readdir(out), []);
        return;
      }
      const { target } = await run;
      const blobs = new Set(await readdir(join(out, 'oci/blobs/sha256')));
      for (const [kind, digests] of Object.entries(golden.new ?? {})) {
        if (image === 'multiarch' && kind === 'image-index') continue;
        for (const digest of digests) assert.ok(blobs.has(digest.slice(7)), `${kind} ${digest} is missing`);
      }
      if (image === 'multiarch') await assertAttestations(out, target.digest, golden);
      else assert.equal(await readFile(join(out, 'oci/index.json'), 'utf8'), await goldenFile(image, name, 'index.json'));
      assert.equal(target.digest.slice(7), sha256Digest(await readFile(join(out, 'oci/blobs/sha256', target.digest.slice(7)))).slice(7));
      assert.deepEqual(lines(events), (await goldenFile(image, name, 'stdout')).split('\n').filter(Boolean).map(withoutReuse).sort());
    });
  }
});

describe('soci convert --format oci-archive, against the Go tool', () => {
  it('gives the same archive, byte for byte', async (t) => {
    const out = await mkdtemp(join(root, 'out-'));
    t.after(() => rm(out, { recursive: true, force: true }));
    const output = join(out, 'plain.tar');
    const input = join(root, 'layouts/plain');
    await convertLayout({ input, output, format: 'oci-archive', minLayerSizeBytes: 0, builder, log: collectLogs().log }, signal);
    assert.equal(sha256Digest(await readFile(output)), 'sha256:a52228c4323cb0a20d05e5da1c03de4c2d942647f38258f3eed6e07dd5974f98');
  });
});

describe('soci create, against the Go tool', () => {
  for (const { image, name, golden } of cases.filter(({ name }) => name.startsWith('create'))) {
    it(`${image} ${name}`, async (t) => {
      const out = await mkdtemp(join(root, 'out-'));
      t.after(() => rm(out, { recursive: true, force: true }));
      using artifacts = ArtifactsDb.open(join(out, 'artifacts.sqlite'));
      const files = await listLayoutFolder(join(root, 'layouts', image), signal);
      const store = new LayoutStore(files, out);
      const target = await resolveLayoutRoot(files, store, signal);
      const events: BuildEvent[] = [];
      const { options } = readCommand(golden.command);
      const indexes = await createIndexes(
        {
          ...options,
          target,
          content: store,
          blobs: store,
          artifacts,
          builder,
          log: collectLogs().log,
          onEvent: (event) => events.push(event),
        },
        signal,
      );
      const want = Object.values(golden.new ?? {})
        .flat()
        .sort();
      assert.deepEqual((await readdir(join(out, 'blobs/sha256'))).map((hex) => `sha256:${hex}`).sort(), want);
      assert.deepEqual(indexes.map(({ descriptor }) => descriptor.digest).sort(), [...(golden.new?.['soci-index'] ?? [])].sort());
      assert.deepEqual(
        artifacts.list({ kind: 'index' }).map(({ digest }) => digest),
        [...(golden.new?.['soci-index'] ?? [])].sort(),
      );
      assert.deepEqual(
        artifacts.list({ kind: 'ztoc' }).map(({ digest }) => digest),
        [...(golden.new?.ztoc ?? [])].sort(),
      );
      assert.deepEqual(lines(events), (await goldenFile(image, name, 'stdout')).split('\n').filter(Boolean).map(withoutReuse).sort());
    });
  }
});

/** Both known differences, and no other: with the annotations taken out again, the index is the Go tool's. */
async function assertAttestations(out: string, digest: string, golden: GoldenCase): Promise<void> {
  const ours = parseIndex(await readFile(join(out, 'oci/blobs/sha256', digest.slice(7))));
  const attestations = ours.manifests.filter((entry) => annotation(entry.annotations, ATTESTATION_REFERENCE) !== undefined);
  assert.equal(attestations.length, 2);
  for (const entry of attestations) {
    const subject = annotation(entry.annotations, ATTESTATION_REFERENCE);
    assert.ok(
      ours.manifests.some((manifest) => manifest.digest === subject),
      `attestation of ${subject ?? 'nothing'}`,
    );
    assert.equal(entry.annotations?.['vnd.docker.reference.type'], 'attestation-manifest');
  }
  const asTheToolWrites = ours.manifests.map((entry) => {
    if (!attestations.includes(entry)) return entry;
    return Object.fromEntries(Object.entries(entry).filter(([key]) => key !== 'annotations')) as unknown as Descriptor;
  });
  assert.equal(sha256Digest(encodeIndex({ ...ours, manifests: asTheToolWrites })), golden['index.json']);
}

function readCommand(command: string): { options: BuildSettings & { platforms: PlatformChoice }; format: LayoutFormat } {
  const { values } = parseArgs({
    args: command.split(' ').slice(2),
    allowPositionals: true,
    options: {
      standalone: { type: 'boolean' },
      format: { type: 'string' },
      'span-size': { type: 'string' },
      'min-layer-size': { type: 'string' },
      'prefetch-file': { type: 'string', multiple: true },
      optimizations: { type: 'string', multiple: true },
      platform: { type: 'string', multiple: true },
      'all-platforms': { type: 'boolean' },
    },
  });
  const platforms = values['all-platforms'] ? 'all' : (values.platform ?? []).map((text) => parsePlatform(text));
  return {
    format: values.format === 'oci-archive' ? 'oci-archive' : 'oci-dir',
    options: {
      // The golden runs were made on amd64, and that is what `default` meant there.
      platforms: platforms.length === 0 && process.arch !== 'x64' ? [{ os: 'linux', architecture: 'amd64' }] : platforms,
      ...(values['span-size'] === undefined ? {} : { spanSizeBytes: BigInt(values['span-size']) }),
      ...(values['min-layer-size'] === undefined ? {} : { minLayerSizeBytes: Number(values['min-layer-size']) }),
      prefetchPaths: values['prefetch-file'] ?? [],
      optimizations: (values.optimizations ?? []).map(parseOptimization),
    },
  };
}

/** Completion order is nobody's promise, and which of two equal layers comes first depends on it. */
function lines(events: readonly BuildEvent[]): readonly string[] {
  return events.flatMap((event) => withoutReuse(formatBuildEvent(event) ?? '') || []).sort();
}

function withoutReuse(line: string): string {
  return line.replace(' (already exists)', '');
}

function goldenFile(image: string, name: string, file: string): Promise<string> {
  return readFile(join(root, 'golden', image, name, file), 'utf8');
}

async function goldenTable(): Promise<string> {
  return await untar(['-O', 'golden/digests.json']);
}

/** Node knows zstd, an old tar may not. */
async function untar(args: readonly string[]): Promise<string> {
  const tar = spawn('tar', ['-xf', '-', ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  tar.stdin.end(zstdDecompressSync(await readFile(ARCHIVE)));
  const chunks: Buffer[] = [];
  for await (const chunk of tar.stdout) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
