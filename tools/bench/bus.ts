import { join } from 'node:path';
import { connectBus } from '@soci/bus';
import { Deployment } from '@soci/bus/deployment';
import { ImageReference } from '@soci/image';
import { createLogger } from '@soci/log';
import { BusCredentialSource } from '@soci/lookup';
import { Child, freePort, Nats, waitFor } from '@soci/testing';
import { plainQuestion } from './bus-question.ts';
import type { BenchContext } from './context.ts';
import { median } from './report.ts';

const PLAIN_REQUESTS = 2_000;
const LOOKUPS = 200;
const WARM_UP = 50;
const CLIENTS = 8;
const REQUEST_BYTES = 128;

const signal = new AbortController().signal;

/** What it costs to ask another service for a credential: a real nats-server with TLS and nkeys, one process that asks, one that answers. Nothing is at hand from before: each look-up is for another registry. */
export async function benchBus({ scratch, rounds, report, progress }: BenchContext): Promise<void> {
  report.heading('Bus: nats-server with TLS and nkeys, a process at each end');
  const path = join(scratch, 'bus-keys');
  const port = await freePort();
  await Deployment.create({ path, topology: 'host', nodes: ['bench'], hosts: ['127.0.0.1', 'localhost'], listen: `127.0.0.1:${port}` });
  await using nats = await Nats.start({ configPath: join(path, 'nats', 'nats-server.conf'), port, logPath: join(scratch, 'nats.log') });
  const answerer = [join(import.meta.dirname, 'bus-answerer.ts'), nats.url, path];
  await using child = new Child(process.execPath, ['--conditions=@soci/source', ...answerer], { logPath: join(scratch, 'answerer.log') });
  const log = createLogger({ level: 'error' });
  await using bus = connectBus({ servers: [nats.url], keysDir: path, service: 'registry-fetcher', log });
  await using source = new BusCredentialSource({ bus, name: 'cri', log });
  await child.ready(
    async () => await waitFor(() => source.state.kind === 'ready', { timeoutMs: 10_000, what: 'the other end' }).then(() => true),
  );

  const request = Buffer.alloc(REQUEST_BYTES, 'x');
  const askPlain = async (): Promise<void> => {
    await bus.request(plainQuestion, request, signal);
  };
  let hosts = 0;
  const lookUp = async (): Promise<void> => {
    const host = `registry-${hosts++}.example.com`;
    const answer = await source.resolve(
      { host, reference: new ImageReference({ host, repository: 'team/app', tag: '1' }), namespaces: ['team'] },
      signal,
    );
    if (answer.kind !== 'candidates') throw new Error(`the look-up was answered with ${answer.kind}`);
  };
  await time(askPlain, WARM_UP, 1);
  await time(lookUp, WARM_UP, 1);
  const plain: number[][] = [];
  const sealed: number[][] = [];
  const crowded: number[][] = [];
  for (let round = 0; round < rounds; round++) {
    progress.step(`bus, round ${round + 1}`);
    plain.push(await time(askPlain, PLAIN_REQUESTS, 1));
    sealed.push(await time(lookUp, LOOKUPS, 1));
    crowded.push(await time(lookUp, LOOKUPS * 2, CLIENTS));
  }
  report.figure('request in plain, one client, median', median(plain.map((times) => percentile(times, 0.5))), 'ms', { atMost: 0.5 });
  report.figure('request in plain, one client, p99', median(plain.map((times) => percentile(times, 0.99))), 'ms', { atMost: 3 });
  report.figure('sealed look-up, one client, median', median(sealed.map((times) => percentile(times, 0.5))), 'ms', { atMost: 6 });
  report.figure(`sealed look-up, ${CLIENTS} clients, median`, median(crowded.map((times) => percentile(times, 0.5))), 'ms', { atMost: 20 });
}

/** @returns milliseconds of each */
async function time(task: () => Promise<void>, count: number, lanes: number): Promise<number[]> {
  const times: number[] = [];
  let left = count;
  const lane = async (): Promise<void> => {
    while (left-- > 0) {
      const begin = performance.now();
      await task();
      times.push(performance.now() - begin);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return times;
}

function percentile(times: readonly number[], part: number): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length * part)] ?? Number.NaN;
}
