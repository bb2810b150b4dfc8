import { execFile, spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Cri, type Login } from '@soci/testing';
import { buildDemoImage } from '../demo/image.ts';
import type { Progress } from '../demo/progress.ts';
import { makeSmallImage } from '../e2e/small-image.ts';
import type { ComposeStack } from './compose-stack.ts';
import { firstLine } from './first-line.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..', '..');
const HOST = 'registry:5000';
/** Long enough for a machine that does other things too. */
const READY_MS = 180_000;
const MEBIBYTE = 1 << 20;

export interface DemoOptions {
  readonly directory: string;
  /** An image of a few megabytes in place of the demo's. */
  readonly isSmall: boolean;
  /** Takes away the registry-fetcher's own login, so that the one of the pull has to come over the bus. */
  readonly isOverBus: boolean;
  readonly progress: Progress;
}

/** Adds an index to an image, pushes it to the stack's registry, pulls it through cri-proxy as a kubelet would, and runs it. @throws when a layer was not served lazily */
export async function runDemo(stack: ComposeStack, { directory, isSmall, isOverBus, progress }: DemoOptions): Promise<void> {
  const image = isSmall ? await makeSmall(join(directory, 'small')) : await buildDemoImage(join(ROOT, 'tmp', 'demo'), progress);
  progress.step('soci convert: adding a SOCI index to the image');
  const converted = join(directory, 'converted');
  const soci = join(ROOT, 'apps', 'soci', 'bin', 'soci');
  await run(soci, [
    '--root',
    join(directory, 'soci-cli'),
    'convert',
    '--standalone',
    '--format',
    'oci-dir',
    '--min-layer-size',
    '0',
    image,
    converted,
  ]);

  const reference = `${HOST}/demo/service:latest`;
  const login = await readLogin(stack);
  progress.step(`pushing it to ${HOST}`);
  // A process of its own, as Node reads the certificate authority once, when it starts.
  await run('node', ['--conditions=@soci/source', join(import.meta.dirname, 'push.ts'), converted, reference], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: join(stack.volume('registry-ca'), 'ca.crt'), STACK_LOGIN: JSON.stringify(login) },
  });

  if (isOverBus) await writeFile(join(stack.volume('registry-login'), 'config.json'), '{}');
  progress.step('pulling it through cri-proxy, running it');
  using cri = new Cri(join(stack.volume('cri-socket'), 'cri-proxy.sock'));
  const begin = performance.now();
  await cri.pullImage(reference, login, { timeoutMs: READY_MS });
  const pulled = performance.now();
  const ctr = [
    'ctr',
    '-a',
    '/run/soci/containerd/containerd.sock',
    '-n',
    'k8s.io',
    'run',
    '--rm',
    '--snapshotter',
    'soci',
    reference,
    'demo',
  ];
  const [program, ...args] = stack.container('node').execCommand(ctr);
  const ready = await firstLine(spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: READY_MS }), 'ready');
  const lazy = await lazyLayers(stack);
  progress.clear();
  const seconds = (from: number, to: number): string => ((to - from) / 1_000).toFixed(1);
  process.stdout.write(`pulled in ${seconds(begin, pulled)} s, ready ${seconds(pulled, ready)} s later; ${lazy} layers mounted lazily\n`);
  if (lazy === 0) throw new Error(`no layer was mounted lazily: see ${stack.logPath('node')}`);
}

async function makeSmall(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  return await makeSmallImage(
    directory,
    [[{ path: 'data/noise', sizeBytes: 4 * MEBIBYTE }]],
    ['/bin/sh', '-c', 'cat /data/noise >/dev/null && echo ready'],
  );
}

/** The login that was made for this stack. */
async function readLogin(stack: ComposeStack): Promise<Login> {
  const config = JSON.parse(await readFile(join(stack.volume('registry-login'), 'config.json'), 'utf8')) as {
    auths: Record<string, { auth: string }>;
  };
  const [username = '', password = ''] = Buffer.from(config.auths[HOST]?.auth ?? '', 'base64')
    .toString('utf8')
    .split(':');
  return { username, password };
}

async function lazyLayers(stack: ComposeStack): Promise<number> {
  return (await readFile(stack.logPath('node'), 'utf8')).split('"remote-snapshot-prepared":"true"').length - 1;
}
