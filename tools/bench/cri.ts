import { mkdir, writeFile } from 'node:fs/promises';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cri, type ServiceClient } from '@soci/proto';
import { implement, openChannel, serveGrpc } from '@soci/rpc';
import { createLogger } from '@soci/log';
import { Child, Containerd, Snapshotter } from '@soci/testing';
import { program } from '../e2e/stack.ts';
import type { BenchContext } from './context.ts';
import { median } from './report.ts';

const CLIENTS = 8;
const CALLS_A_SECOND = 200;
const SECONDS_A_ROUND = 5;
const MAX_ADDED_MS = 1.5;
const REFERENCES = 10_000;
const MAX_GROWTH_MB = 50;
/** As long as those of cloud registries are, and a different one for each image. */
const PASSWORD_CHARACTERS = 1_500;
const WARM_UP_PULLS = 200;
const PULLS_AT_ONCE = 32;
/** For what the last calls left behind to be given back: the agent does that when it has had nothing to do for some seconds. */
const SETTLE_MS = 15_000;

type Images = ServiceClient<typeof cri.ImageServiceService>;
const signal = new AbortController().signal;

/** What standing between the kubelet and containerd costs: time for each call, memory for each image. */
export async function benchCri(context: BenchContext): Promise<void> {
  await measureTime(context);
  await measureMemory(context, 'cri-proxy', startProxy);
  await measureMemory(context, 'agent', startAgent);
}

interface Started {
  readonly address: string;
  /** Whose memory is looked at. */
  readonly pid: number;
}

type Start = (directory: string, upstream: string, resources: AsyncDisposableStack) => Promise<Started>;

async function measureTime({ report, rounds, scratch, peers, progress }: BenchContext): Promise<void> {
  report.heading(`image service: ${CALLS_A_SECOND} calls a second by ${CLIENTS} clients, through cri-proxy and to containerd itself`);
  await using resources = new AsyncDisposableStack();
  const directory = join(scratch, 'cri-time');
  await mkdir(join(directory, 'containerd'), { recursive: true });
  const containerd = resources.use(
    await Containerd.start({
      directory: join(directory, 'containerd'),
      ...(peers.containerd === undefined ? {} : { binaries: peers.containerd }),
    }),
  );
  const proxy = await startProxy(directory, containerd.address, resources);
  const direct = openClients(containerd.address, resources);
  const through = openClients(proxy.address, resources);
  const added: number[] = [];
  const itself: number[] = [];
  for (let round = 0; round < rounds; round++) {
    progress.detail(`round ${round + 1}`);
    const alone = median(await callSteadily(direct));
    const both = median(await callSteadily(through));
    itself.push(alone);
    added.push(both - alone);
  }
  report.note('containerd itself, p50', median(itself), 'ms');
  report.figure('added by the proxy, p50', median(added), 'ms', { atMost: MAX_ADDED_MS }, added.map((value) => value.toFixed(2)).join(' '));
}

async function measureMemory({ report, scratch, progress }: BenchContext, name: string, start: Start): Promise<void> {
  report.heading(`${name}: ${REFERENCES} images pulled, each with a password of its own`);
  await using resources = new AsyncDisposableStack();
  const directory = join(scratch, `cri-memory-${name}`);
  await mkdir(directory, { recursive: true });
  const upstream = join(directory, 'containerd.sock');
  const log = createLogger({ level: 'error' });
  // Nothing is pulled: containerd would take hours, and how much memory it needs is not the question.
  const definition = { pullImage: cri.ImageServiceService.pullImage };
  const pullImage = ({ image }: cri.PullImageRequest) =>
    Promise.resolve(cri.PullImageResponse.fromPartial({ imageRef: image?.image ?? '' }));
  resources.use(await serveGrpc({ address: upstream, services: [implement(definition, { pullImage })], log }));
  const proxy = await start(directory, upstream, resources);
  const clients = openClients(proxy.address, resources);
  await pullAll(clients, WARM_UP_PULLS, 'warm-up');
  await settle();
  const before = residentMegabytes(proxy.pid);
  progress.detail('pulling');
  await pullAll(clients, REFERENCES, 'app');
  await settle();
  const after = residentMegabytes(proxy.pid);
  report.figure(
    'growth of the resident set',
    after - before,
    'MB',
    { atMost: MAX_GROWTH_MB },
    `from ${before.toFixed(0)} to ${after.toFixed(0)} MB`,
  );
  const kept = memoryBehindDescriptors(proxy.pid);
  if (kept > 0) report.note('memory that outlives the process', kept, 'MB');
}

async function startAgent(directory: string, upstream: string, resources: AsyncDisposableStack): Promise<Started> {
  const config = `[cri_keychain]\nenable_keychain = true\nimage_service_path = ${JSON.stringify(upstream)}\n`;
  const command: [string] = [program('agent', 'soci-snapshotter-grpc')];
  const agent = resources.use(await Snapshotter.start({ directory, command, config, logLevel: 'error' }));
  const children = readFileSync(`/proc/${agent.pid}/task/${agent.pid}/children`, 'utf8');
  return { address: agent.address, pid: Number(children.trim().split(' ')[0]) };
}

async function startProxy(directory: string, upstream: string, resources: AsyncDisposableStack): Promise<Started> {
  const address = join(directory, 'cri-proxy.sock');
  const config = join(directory, 'config.toml');
  await writeFile(config, `[cri_keychain]\nimage_service_path = ${JSON.stringify(upstream)}\n`);
  const logPath = join(directory, 'cri-proxy.log');
  const child = resources.use(new Child(program('cri-proxy', 'soci-cri-proxy'), ['--address', address, '--config', config], { logPath }));
  await child.ready(() => readFileSync(logPath, 'utf8').includes('successfully started'));
  return { address, pid: child.pid };
}

function openClients(address: string, resources: AsyncDisposableStack): readonly Images[] {
  return Array.from({ length: CLIENTS }, () => resources.use(openChannel({ address })).client(cri.ImageServiceService));
}

/** @returns how long each call took, in milliseconds. A call starts when it is due, whether the one before has ended or not */
async function callSteadily(clients: readonly Images[]): Promise<readonly number[]> {
  const request = cri.ListImagesRequest.fromPartial({});
  const times: number[] = [];
  const calls: Promise<void>[] = [];
  const begin = performance.now();
  for (let index = 0; index < CALLS_A_SECOND * SECONDS_A_ROUND; index++) {
    const waitMs = begin + (index * 1_000) / CALLS_A_SECOND - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const client = clients[index % clients.length];
    if (client === undefined) break;
    const startedMs = performance.now();
    calls.push(client.listImages(request, { signal }).then(() => void times.push(performance.now() - startedMs)));
  }
  await Promise.all(calls);
  return times;
}

async function pullAll(clients: readonly Images[], count: number, name: string): Promise<void> {
  let next = 0;
  const work = async (client: Images): Promise<void> => {
    while (next < count) {
      const index = next++;
      const password = `${name}-${index}-`.padEnd(PASSWORD_CHARACTERS, 'x');
      const image = { image: `registry.example.com/team-${index % 100}/${name}-${index}:1.0` };
      const sandboxConfig = { metadata: { name: 'pod', uid: 'u', namespace: `team-${index % 100}`, attempt: 0 } };
      await client.pullImage(cri.PullImageRequest.fromPartial({ image, auth: { username: 'robot', password }, sandboxConfig }), { signal });
    }
  };
  const workers = Array.from({ length: PULLS_AT_ONCE / CLIENTS }, () => clients.map(work)).flat();
  await Promise.all(workers);
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}

/** Of what pulls brought. It is not mapped, so no resident set has it. */
function memoryBehindDescriptors(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  const ours = readdirSync(folder).filter((fd) => readlinkSync(join(folder, fd)).startsWith('/memfd:soci-cri'));
  return ours.reduce((sum, fd) => sum + (statSync(join(folder, fd)).blocks * 512) / 1_000_000, 0);
}

function residentMegabytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) / 1_000;
}
