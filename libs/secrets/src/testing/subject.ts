import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImageReference } from '@soci/image';
import { PullSecretSource, type Candidate } from '@soci/keychain';
import { collectLogs } from '@soci/log';
import { createMetrics, type Metrics } from '@soci/metrics';
import { SecretsSync, type SyncTimings } from '../index.ts';

export interface SubjectOptions {
  readonly kubeconfigPath?: string;
  readonly namespaces?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly timings?: Partial<SyncTimings>;
  readonly firstSyncTimeoutMs?: number;
  readonly serviceAccountDirectory?: string;
}

/** What is given back within this time counts as at once; the machine may be busy. */
const SOON_MS = 5_000;

/** A source that follows an API server, as a service composes it, with what it logs. */
export class Subject implements AsyncDisposable {
  readonly source: PullSecretSource;
  readonly sync: SecretsSync;
  readonly lines: readonly string[];
  readonly #metrics: Metrics = createMetrics();

  constructor({
    kubeconfigPath = '',
    namespaces = [],
    env = {},
    timings = {},
    firstSyncTimeoutMs,
    serviceAccountDirectory,
  }: SubjectOptions) {
    const { log, lines } = collectLogs();
    this.lines = lines;
    this.source = new PullSecretSource({ log, ...(firstSyncTimeoutMs === undefined ? {} : { firstSyncTimeoutMs }) });
    this.sync = new SecretsSync({
      source: this.source,
      kubeconfigPath,
      namespaces,
      env,
      userAgent: 'test/0',
      log,
      metrics: this.#metrics,
      timings: { kubeconfigEveryMs: 50, ...timings },
      ...(serviceAccountDirectory === undefined ? {} : { serviceAccountDirectory }),
    });
    this.sync.start();
  }

  async answer(host: string): Promise<{ readonly kind: string; readonly reason?: string; readonly candidates?: readonly Candidate[] }> {
    const reference = new ImageReference({ host, repository: 'team/app' });
    return await this.source.resolve({ host, reference, namespaces: [] });
  }

  /** Names of the users that a host's look-up gives, or the kind of its answer. */
  async users(host: string): Promise<readonly string[] | string> {
    const answer = await this.answer(host).catch((error: unknown) => ({ kind: String(error), candidates: undefined }));
    if (answer.candidates === undefined) return answer.kind;
    return answer.candidates.map(({ credential }) => (credential.kind === 'basic' ? credential.username : credential.kind));
  }

  /** Waits until a host's look-up gives this. @returns milliseconds waited */
  async expects(host: string, want: readonly string[] | string, withinMs = SOON_MS): Promise<number> {
    const begin = performance.now();
    for (;;) {
      const got = await this.users(host);
      const waitedMs = performance.now() - begin;
      if (JSON.stringify(got) === JSON.stringify(want)) return waitedMs;
      if (waitedMs > withinMs) {
        assert.deepEqual(
          got,
          want,
          `after ${Math.round(waitedMs)} ms, ${JSON.stringify(this.sync.state)}\n${this.lines.slice(-10).join('\n')}`,
        );
      }
      await sleep(10);
    }
  }

  async count(name: string): Promise<number> {
    const line = (await this.#metrics.metrics()).split('\n').find((text) => text.startsWith(`${name} `));
    return Number(line?.slice(name.length + 1) ?? 0);
  }

  /** Waits until a series has at least this value. */
  async counts(name: string, atLeast: number, withinMs = SOON_MS): Promise<void> {
    const begin = performance.now();
    while ((await this.count(name)) < atLeast) {
      if (performance.now() - begin > withinMs) assert.fail(`${name} is ${await this.count(name)}, not ${atLeast}`);
      await sleep(10);
    }
  }

  logged(message: string): number {
    return this.lines.filter((line) => line.includes(message)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sync[Symbol.asyncDispose]();
  }
}

/** A copy of a kubeconfig for another address of the same server, in `directory`. */
export async function kubeconfigFor(
  directory: string,
  kubeconfig: string,
  url: string,
  edit = (text: string): string => text,
): Promise<string> {
  const path = join(directory, `relayed-${new URL(url).port}-${process.hrtime.bigint()}.kubeconfig`);
  const text = (await readFile(kubeconfig, 'utf8')).replace(/https:\/\/127\.0\.0\.1:[0-9]+/, url);
  await writeFile(path, edit(text), { mode: 0o600 });
  return path;
}
