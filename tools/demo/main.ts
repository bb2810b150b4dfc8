import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeError } from '@soci/errors';
import { parseReference } from '@soci/image';
import { Containerd, Cri, DelayLine, Registry, Snapshotter } from '@soci/testing';
import { pullAndRun, type Line, type Result } from './contest.ts';
import { buildDemoImage } from './image.ts';
import { Progress } from './progress.ts';
import { pushLayout } from '../image/push.ts';
import { printTable } from './table.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const LOGIN = { username: 'demo', password: 'only-for-the-demo' };
const ONE_WAY_MS = 12.5;
const BITS_PER_SECOND = 200e6;

const run = promisify(execFile);
const progress = new Progress(process.stderr);

/** @param scratch an empty folder, removed by the caller once every mount below it is gone */
async function main(scratch: string): Promise<void> {
  const image = await buildDemoImage(join(ROOT, 'tmp', 'demo'), progress);
  await race(image, scratch);
}

async function race(image: string, scratch: string): Promise<void> {
  progress.step('soci convert: adding a SOCI index to the image');
  const converted = join(scratch, 'converted');
  await run(join(ROOT, 'apps', 'soci', 'bin', 'soci'), [
    '--root',
    join(scratch, 'soci-cli'),
    'convert',
    '--standalone',
    '--format',
    'oci-dir',
    image,
    converted,
  ]);

  progress.step('starting a private registry behind a line of 25 ms round trip and 200 Mbit/s');
  await using registry = await Registry.start({ directory: join(scratch, 'registry'), login: LOGIN });
  const [targetHost = '', port] = registry.host.split(':');
  await using slowLine = await DelayLine.start({
    targetHost,
    targetPort: Number(port),
    oneWayMs: ONE_WAY_MS,
    bitsPerSecond: BITS_PER_SECOND,
  });
  progress.step('pushing the image');
  const total = await pushLayout(converted, parseReference(`${registry.host}/demo/service:latest`), LOGIN, progress);
  const line: Line = { served: async () => ({ bytes: slowLine.answeredBytes, requests: (await registry.served()).requests }) };
  const reference = `${slowLine.host}/demo/service:latest`;

  const lazy = await withSoci(scratch, slowLine.host, reference, line);
  const plain = await withOverlayfs(scratch, reference, line);
  progress.clear();
  printTable({ lazy: lazy.result, plain, total });
  if (lazy.mode !== 'erofs') {
    process.stdout.write(`\nThis kernel cannot serve layers lazily (${lazy.mode}), so the image was pulled plainly both times.\n`);
  }
}

async function withSoci(
  scratch: string,
  host: string,
  reference: string,
  line: Line,
): Promise<{ readonly result: Result; readonly mode: string }> {
  progress.step('lazily: containerd with soci-snapshotter-grpc');
  const directory = join(scratch, 'lazy');
  const address = join(directory, 'snapshotter.sock');
  await using snapshotter = await Snapshotter.start({
    directory: directory,
    command: [join(ROOT, 'apps', 'agent', 'bin', 'soci-snapshotter-grpc')],
    address,
    logins: { [host]: `${LOGIN.username}:${LOGIN.password}` },
  });
  await using containerd = await Containerd.start({ directory: join(scratch, 'lazy-containerd'), snapshotterAddress: address });
  using cri = new Cri(containerd.address);
  const result = await pullAndRun({ containerd, cri, snapshotter: 'soci' }, reference, LOGIN, line);
  return { result, mode: await kernelMode(snapshotter.logPath) };
}

/** `erofs`, or why the kernel probe failed, from the service's own log. */
async function kernelMode(logPath: string): Promise<string> {
  for (const text of (await readFile(logPath, 'utf8')).split('\n')) {
    if (!text.includes('"mode"')) continue;
    const { mode, reason } = JSON.parse(text) as { mode?: string; reason?: string };
    if (mode !== undefined) return mode === 'erofs' ? mode : (reason ?? mode);
  }
  return 'the service named no mode';
}

async function withOverlayfs(scratch: string, reference: string, line: Line): Promise<Result> {
  progress.step('plainly: containerd with its own overlayfs (half a minute)');
  await using containerd = await Containerd.start({ directory: join(scratch, 'plain-containerd') });
  using cri = new Cri(containerd.address);
  return await pullAndRun({ containerd, cri, snapshotter: 'overlayfs' }, reference, LOGIN, line);
}

/** As the first process of its pid namespace it takes every other one with it. */
process.on('SIGINT', () => process.exit(130)).on('SIGTERM', () => process.exit(143));

const [scratch] = process.argv.slice(2);
if (scratch === undefined) throw new Error('no scratch folder: start the demo with `npm run demo`');
main(scratch).catch((error: unknown) => {
  progress.clear();
  process.stderr.write(`demo: ${describeError(error)}\n`);
  process.exitCode = 1;
});
