import { readFile, writeFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageReference } from '@soci/image';
import { PullSecretSource } from '@soci/keychain';
import { createLogger } from '@soci/log';
import { SecretsSync } from '@soci/secrets';
import { Child, KubeApi, missingKubePrograms } from '@soci/testing';
import { Pool } from 'undici';
import { program } from '../e2e/stack.ts';
import type { BenchContext } from './context.ts';
import { median } from './report.ts';

const NAMESPACES = 100;
const SECRETS_EACH = 100;
/** Of each namespace's secrets, those for registries that every namespace has a login of its own for. */
const SHARED_EACH = 10;
const LOOKUPS = 20_000;
const CONNECTIONS = 8;
const SYNC_TIMEOUT_MS = 60_000;
const SYNCED = 'kubernetes secrets synced';

/** The Kubernetes secrets of a large cluster, from a real API server: first sync and memory of `soci-secret-syncer`, look-ups in one process with them. */
export async function benchSecrets({ scratch, rounds, report, progress }: BenchContext): Promise<void> {
  report.heading(`Kubernetes secrets: ${NAMESPACES * SECRETS_EACH} in ${NAMESPACES} namespaces, real API server`);
  const missing = missingKubePrograms();
  if (missing !== undefined) {
    report.missing('secrets', missing);
    return;
  }
  const directory = join(scratch, 'kube');
  await mkdir(directory, { recursive: true });
  await using api = await KubeApi.start({ directory, users: ['syncer'] });
  await api.grant('syncer', { resources: ['secrets'], verbs: ['list', 'watch'] });
  progress.step('making secrets');
  await fill(api);
  const syncs: Figures[] = [];
  for (let round = 0; round < rounds; round++) {
    progress.step(`first sync, round ${round + 1}`);
    syncs.push(await syncOnce(api, join(directory, `round-${round}`)));
  }
  report.figure('first sync, from the start of the process', median(syncs.map(({ seconds }) => seconds)), 's', { atMost: 10 });
  report.figure('peak resident memory of the syncer', Math.max(...syncs.map(({ peakMegabytes }) => peakMegabytes)), 'MB', { atMost: 220 });
  progress.step('look-ups');
  const times = (await lookUp(api)).toSorted((a, b) => a - b);
  report.note('look-up in process, median', median(times), 'ms', `of ${LOOKUPS}`);
  report.figure('look-up in process, p99', times[Math.floor(times.length * 0.99)] ?? Number.NaN, 'ms', { atMost: 2 });
}

interface Figures {
  readonly seconds: number;
  readonly peakMegabytes: number;
}

function hostOf(namespace: number, secret: number): string {
  return secret < SHARED_EACH ? `shared-${secret}.example.com` : `registry-${secret}.team-${namespace}.example.com:5000`;
}

async function fill(api: KubeApi): Promise<void> {
  for (let i = 0; i < NAMESPACES; i++) await api.createNamespace(`team-${i}`);
  await using resources = new AsyncDisposableStack();
  const options = { connections: CONNECTIONS, connect: { rejectUnauthorized: false } };
  const pool = resources.adopt(new Pool(api.url, options), (opened) => opened.close());
  const numbers = Array.from({ length: NAMESPACES * SECRETS_EACH }, (_, i) => i).values();
  const lanes = Array.from({ length: CONNECTIONS }, async () => {
    for (const number of numbers) await make(pool, api.token('admin'), number % NAMESPACES, Math.floor(number / NAMESPACES));
  });
  await Promise.all(lanes);
}

async function make(pool: Pool, token: string, namespace: number, secret: number): Promise<void> {
  const auth = Buffer.from(`user-${namespace}-${secret}:a-password-of-usual-length-${secret}`).toString('base64');
  const document = JSON.stringify({ auths: { [hostOf(namespace, secret)]: { auth } } });
  const body = {
    metadata: { name: `pull-${secret}` },
    type: 'kubernetes.io/dockerconfigjson',
    data: { '.dockerconfigjson': Buffer.from(document).toString('base64') },
  };
  const answer = await pool.request({
    method: 'POST',
    path: `/api/v1/namespaces/team-${namespace}/secrets`,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  await answer.body.dump();
  if (answer.statusCode !== 201) throw new Error(`secret ${secret} of team-${namespace}: status ${answer.statusCode}`);
}

async function syncOnce(api: KubeApi, directory: string): Promise<Figures> {
  await mkdir(directory);
  const config = join(directory, 'config.toml');
  await writeFile(config, `[kubeconfig_keychain]\nenable_keychain = true\nkubeconfig_path = "${api.kubeconfig('syncer')}"\n`);
  const begin = performance.now();
  await using syncer = new Child(
    program('secret-syncer', 'soci-secret-syncer'),
    ['--config', config, '--address', join(directory, 'syncer.sock'), '--root', directory],
    { logPath: join(directory, 'syncer.log') },
  );
  await syncer.ready(async () => (await readFile(syncer.logPath, 'utf8')).includes(SYNCED), SYNC_TIMEOUT_MS);
  const seconds = (performance.now() - begin) / 1_000;
  const status = await readFile(`/proc/${syncer.pid}/status`, 'utf8');
  return { seconds, peakMegabytes: Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? Number.NaN) / 1_000 };
}

/** @returns milliseconds of each look-up */
async function lookUp(api: KubeApi): Promise<readonly number[]> {
  const log = createLogger({ level: 'error' });
  const source = new PullSecretSource({ log });
  const { promise: synced, resolve } = Promise.withResolvers<undefined>();
  await using sync = new SecretsSync({
    source,
    kubeconfigPath: api.kubeconfig('syncer'),
    namespaces: [],
    env: {},
    userAgent: 'bench',
    log,
  });
  sync.onChange(({ kind }) => {
    if (kind === 'synced') resolve(undefined);
  });
  sync.start();
  await synced;
  const times: number[] = [];
  for (let i = 0; i < LOOKUPS; i++) {
    const host = hostOf(i % NAMESPACES, (i * 7) % (SECRETS_EACH + 5)); // one in twenty has no login
    const lookup = { host, reference: new ImageReference({ host, repository: 'team/app' }), namespaces: [] };
    const begin = performance.now();
    await source.resolve(lookup);
    times.push(performance.now() - begin);
  }
  return times;
}
