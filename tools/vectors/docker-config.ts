import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeError } from '@soci/errors';
import { ImageReference, parseReference } from '@soci/image';
import { commandLineSource, DockerConfigSource, type CredentialSource, type Lookup } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { z } from 'zod';
import { describeAnswer } from './credentials.ts';
import type { Outcome, Row } from './row.ts';
import { quoted } from './shell.ts';

const response = z.object({ exit: z.number(), stdout: z.string(), stderr: z.string().default('') });
const helper = z.object({ responses: z.record(z.string(), response), otherwise: response });
const input = z.object({
  config: z.unknown().optional(),
  config_text: z.string().optional(),
  config_absent: z.boolean().optional(),
  config_is_dir: z.boolean().optional(),
  helpers: z.record(z.string(), helper).default({}),
  env: z.record(z.string(), z.string()).default({}),
  user_flag: z.string().optional(),
});
type Input = z.infer<typeof input>;

/** Where a Hub image's requests go. */
const HUB_API_HOST = 'registry-1.docker.io';
/** An answer that depends on chance would differ in one of these. */
const ASKED_TIMES = 3;

/** Runs a row of source `docker-config` or `cli` with a real file and real helper programs. */
export async function runDockerConfigRow(row: Row, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), 'soci-vector-'));
  try {
    const described = input.parse(row.input);
    await writeConfig(directory, described);
    for (const [name, answers] of Object.entries(described.helpers)) await writeHelper(directory, name, answers);
    const env = { PATH: `${directory}:/usr/bin:/bin`, ...described.env };
    const docker = new DockerConfigSource({ path: join(directory, 'config.json'), env, log });
    const lookup = row.source === 'cli' ? lookupOfReference(row.ref_or_host) : lookupOfHost(row.ref_or_host);
    const source = row.source === 'cli' ? commandLineSource({ user: described.user_flag, host: lookup.reference.host }, docker) : docker;
    return await ask(source, lookup, signal);
  } catch (error) {
    signal.throwIfAborted();
    return { kind: 'error', message: describeError(error) };
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function ask(source: CredentialSource, lookup: Lookup, signal: AbortSignal): Promise<Outcome> {
  const outcomes = new Map<string, Outcome>();
  for (let i = 0; i < ASKED_TIMES; i++) {
    const outcome = describeAnswer(await source.resolve(lookup, signal));
    outcomes.set(JSON.stringify(outcome), outcome);
  }
  const [first] = outcomes.values();
  return outcomes.size === 1 && first !== undefined ? first : { kind: 'changing', answers: [...outcomes.values()] };
}

async function writeConfig(directory: string, { config, config_text, config_absent, config_is_dir }: Input): Promise<void> {
  const path = join(directory, 'config.json');
  const isGiven = config !== undefined || config_text !== undefined;
  if (config_is_dir === true) await mkdir(path);
  else if (config_absent !== true && isGiven) await writeFile(path, config_text ?? JSON.stringify(config), { mode: 0o600 });
}

/** A shell script that reads the key and answers as told. */
async function writeHelper(directory: string, name: string, { responses, otherwise }: z.infer<typeof helper>): Promise<void> {
  const branch = (pattern: string, { exit, stdout, stderr }: z.infer<typeof response>): string =>
    `${pattern}) printf %s ${quoted(stdout)}; printf %s ${quoted(stderr)} >&2; exit ${exit};;`;
  const branches = [...Object.entries(responses).map(([key, answer]) => branch(quoted(key), answer)), branch('*', otherwise)];
  const script = ['#!/bin/sh', '[ "$1" = get ] || exit 99', 'case "$(cat)" in', ...branches, 'esac', ''].join('\n');
  await writeFile(join(directory, `docker-credential-${name}`), script, { mode: 0o700 });
}

function lookupOfHost(text: string): Lookup {
  const slash = text.indexOf('/');
  const host = slash < 0 ? text : text.slice(0, slash);
  const repository = slash < 0 ? '' : text.slice(slash + 1).replace(/(?::[^/]*)?(?:@.*)?$/, '');
  return { host, reference: new ImageReference({ host, repository }), namespaces: [] };
}

/** What is asked for an image where its own registry challenges. */
export function lookupOfReference(text: string): Lookup {
  const reference = parseReference(text);
  return { host: reference.host === 'docker.io' ? HUB_API_HOST : reference.host, reference, namespaces: [] };
}
