import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { lazyLayers } from './mounts.ts';
import { makeSmallImage } from './small-image.ts';
import { convert, LOGIN, scratchFolder, Stack, type StackOptions } from './stack.ts';

const MEBIBYTE = 1 << 20;

interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

async function logLines(stack: Stack): Promise<readonly LogLine[]> {
  const text = await readFile(stack.snapshotter.logPath, 'utf8');
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine);
}

/** Pulls and runs a small image, and says what the service's log said about it. */
async function pullSmall(
  options: StackOptions & { readonly indexed: boolean; readonly prepare?: (stack: Stack) => Promise<void> },
): Promise<{ readonly lazy: number; readonly warnings: readonly LogLine[]; readonly log: string }> {
  await using resources = new AsyncDisposableStack();
  const directory = await scratchFolder(resources);
  const image = await makeSmallImage(directory, [[{ path: 'data/one', sizeBytes: MEBIBYTE }], [{ path: 'data/two', sizeBytes: MEBIBYTE }]]);
  const layout = options.indexed ? await convert(image, join(directory, 'converted'), ['--min-layer-size', '0']) : image;
  await using stack = await Stack.start(options);
  const reference = await stack.push(layout, 'fallback/app:1');
  await options.prepare?.(stack);
  await stack.pull(reference);
  const output = await stack.containerd.ctr(['run', '--rm', '--snapshotter', 'soci', reference, 'fallback']);
  assert.match(output, /ready/);
  const lines = await logLines(stack);
  return {
    lazy: await lazyLayers(stack.directory),
    warnings: lines.filter(({ level }) => level === 'warning'),
    log: JSON.stringify(lines),
  };
}

describe('an image without an index', () => {
  it('is pulled as ever, and the log says why once', { timeout: 120_000 }, async () => {
    const { lazy, log } = await pullSmall({ indexed: false });
    assert.equal(lazy, 0);
    assert.match(log, /no valid SOCI index found/);
  });
});

describe('credentials that do not work', () => {
  it('wrong password: one warning with source and host, no secret, and a plain pull', { timeout: 120_000 }, async () => {
    const { lazy, warnings, log } = await pullSmall({ indexed: true, dockerLogin: `${LOGIN.username}:wrong-password` });
    assert.equal(lazy, 0);
    const told = warnings.filter((line) => JSON.stringify(line).includes('docker-config'));
    assert.equal(told.length, 1, log);
    assert.match(JSON.stringify(told[0]), /127\.0\.0\.1:\d+/);
    assert.doesNotMatch(log, /wrong-password|d3JvbmctcGFzc3dvcmQ/);
  });

  it('a helper that is missing: one warning that names it and the host, and a plain pull', { timeout: 120_000 }, async () => {
    const { lazy, warnings, log } = await pullSmall({
      indexed: true,
      prepare: (stack) =>
        writeFile(
          join(stack.snapshotter.home, '.docker', 'config.json'),
          JSON.stringify({ credHelpers: { [stack.proxy.host]: 'not-there' } }),
        ),
    });
    assert.equal(lazy, 0);
    const told = warnings.filter((line) => JSON.stringify(line).includes('docker-credential-not-there'));
    assert.equal(told.length, 1, log);
    assert.match(JSON.stringify(told[0]), /127\.0\.0\.1:\d+/);
  });

  it('a broken config.json: a warning names the file, and the pull goes on', { timeout: 120_000 }, async () => {
    const { lazy, warnings } = await pullSmall({
      indexed: true,
      prepare: (stack) => writeFile(join(stack.snapshotter.home, '.docker', 'config.json'), '{ "auths": '),
    });
    assert.equal(lazy, 0, 'the registry refuses anonymous access');
    assert.ok(warnings.some((line) => JSON.stringify(line).includes('.docker/config.json')));
  });

  it('no login at all: a plain pull', { timeout: 120_000 }, async () => {
    assert.equal((await pullSmall({ indexed: true, dockerLogin: null })).lazy, 0);
  });
});

describe('a service without /dev/fuse', () => {
  it('pulls plainly and says so', { timeout: 120_000 }, async () => {
    const { lazy, log } = await pullSmall({ indexed: true, wrapper: WITHOUT_FUSE });
    assert.equal(lazy, 0);
    assert.match(log, /\/dev\/fuse/);
  });
});

/** A shell that hides /dev/fuse, in a mount namespace of its own, from the service that it then becomes. */
const WITHOUT_FUSE = [
  ...['unshare', '--mount', '--propagation', 'private', 'sh', '-euc'],
  'mount -t tmpfs tmpfs /mnt; for name in null urandom; do touch /mnt/$name; mount --bind /dev/$name /mnt/$name; done; mount --move /mnt /dev; exec "$@"',
  'sh',
];
