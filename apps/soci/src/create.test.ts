import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { containerdApi, ContainerdImages, type Lease } from '@soci/content';
import { NAMESPACE_HEADER, openChannel, type Channel } from '@soci/rpc';
import { Containerd } from '@soci/testing';
import { importLayout, listCreateCases, readSession, unpackGolden, type CreateCase, type SessionStep } from './testing/golden.ts';
import { containerdOptions, whyNot } from './testing/needs.ts';
import { runSoci, type Run } from './testing/run-soci.ts';

const signal = new AbortController().signal;
const EXPECTED_CASES = 21;
const NAMESPACE = 'golden';

describe('soci create, against the Go tool', { skip: whyNot() }, () => {
  let directory: string;
  let containerd: Containerd;
  let channel: Channel;
  let cases: readonly CreateCase[];
  const leases: Lease[] = [];

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'soci-'));
    await unpackGolden(directory);
    cases = await listCreateCases(directory);
    containerd = await Containerd.start(containerdOptions(directory));
    channel = openChannel({ address: containerd.address, headers: { [NAMESPACE_HEADER]: NAMESPACE } });
    const api = containerdApi(channel);
    for (const image of new Set(cases.map((golden) => golden.image))) {
      leases.push(await importLayout(api, join(directory, 'layouts', image), `example.invalid/${image}:latest`, signal));
    }
  });

  after(async () => {
    for (const lease of leases) await lease[Symbol.asyncDispose]();
    channel[Symbol.dispose]();
    await containerd[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  const globals = (root: string, store = 'soci'): readonly string[] => [
    ...['--address', containerd.address, '--namespace', NAMESPACE],
    ...['--content-store', store, '--root', root],
  ];

  it('makes the same blobs and says the same', async (t) => {
    assert.equal(cases.length, EXPECTED_CASES);
    for (const golden of cases) {
      await t.test(`${golden.image} ${golden.name}`, async () => {
        const root = join(directory, `root-${golden.image}-${golden.name}`);
        const created = await runSoci([...globals(root), ...onAmd64(golden.args)]);
        assert.equal(created.exit, 0, created.stderr);
        assert.deepEqual(
          sortedLines(created.stdout),
          sortedLines(await readFile(join(directory, 'golden', golden.image, golden.name, 'stdout'), 'utf8')),
        );
        for (const digest of golden.made) {
          const blob = digest.replace(':', '/');
          const made = await readFile(join(root, 'content/blobs', blob));
          assert.ok(made.equals(await readFile(join(directory, 'golden/blobs', blob))), digest);
        }
        for (const step of await readSession(directory, golden)) compareStep(step, await runSoci([...globals(root), ...step.args]));
      });
    }
  });

  it('keeps the indexes of an image in containerd for as long as the image', async (t) => {
    const root = join(directory, 'root-containerd');
    const name = 'example.invalid/multiarch:latest';
    const created = await runSoci([...globals(root, 'containerd'), 'create', '--all-platforms', '--min-layer-size', '0', name]);
    assert.equal(created.exit, 0, created.stderr);
    const api = containerdApi(channel);
    const { labels } = (await new ContainerdImages(api).get(name, signal)) ?? { labels: {} };
    const listed = (await runSoci([...globals(root, 'containerd'), 'index', 'list', '-q', '--ref', name])).stdout.trim().split('\n');
    assert.deepEqual(Object.values(labels).sort(), listed.sort());
    for (const lease of leases.splice(0)) await lease[Symbol.asyncDispose](); // nothing but the names holds the images now
    const { lease } = await api.leases.create({ id: 'gc', labels: {} }, { signal });
    await api.leases.delete({ id: lease?.id ?? '', sync: true }, { signal });
    for (const digest of listed) {
      const info = await runSoci([...globals(root, 'containerd'), 'index', 'info', digest]);
      assert.equal(info.exit, 0, info.stderr);
      const [ztoc = ''] =
        /sha256:[0-9a-f]{64}(?=",\n *"size": \d+,\n *"annotations": \{\n *"com.amazon.soci.image-layer-digest)/.exec(info.stdout) ?? [];
      assert.equal((await runSoci([...globals(root, 'containerd'), 'ztoc', 'info', ztoc])).exit, 0);
    }
    t.diagnostic(`${listed.length} indexes`);
  });
});

/** On another machine the default platform is another. */
function onAmd64(args: readonly string[]): readonly string[] {
  const [command = '', ...rest] = args;
  return process.arch === 'x64' || args.includes('--all-platforms') ? args : [command, '--platform', 'linux/amd64', ...rest];
}

function compareStep({ args, output, exit }: SessionStep, run: Run): void {
  const command = `soci ${args.join(' ')}`;
  assert.equal(run.exit, exit, `${command}: ${run.stderr}`);
  if (args.includes('--image-ref')) {
    // The Go tool looks into containerd's store whichever one is chosen, and finds nothing.
    assert.match(run.output, /^DIGEST .*\nsha256:[0-9a-f]{64} /, command);
  } else if (exit === 1) {
    assert.ok(run.output.startsWith(output.trimEnd()), `${command}: ${run.output}`); // ours may say more
  } else {
    assert.equal(withoutTimes(run.output), withoutTimes(output), command);
  }
}

function withoutTimes(text: string): string {
  return text.replace(/\d+s ago +$/gm, 'ago').replace(/^Created: .*$/gm, 'Created:');
}

function sortedLines(text: string): readonly string[] {
  return text.split('\n').sort();
}
