import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isNotFound } from '@soci/errors';
import { PluginSource } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { z } from 'zod';
import { describeAnswer } from './credentials.ts';
import { lookupOfReference } from './docker-config.ts';
import type { Outcome, Row } from './row.ts';
import { quoted } from './shell.ts';

const plugin = z.looseObject({
  name: z.string(),
  response: z.object({ exit: z.number(), stdout: z.string(), stderr: z.string().default('') }),
});
const input = z.object({ plugins: z.array(plugin), first_image: z.string().optional() });

/** Runs a row of source `kubelet-plugin` with a real configuration and real programs. */
export async function runPluginRow(row: Row, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), 'soci-vector-'));
  try {
    const { plugins, first_image = row.ref_or_host } = input.parse(row.input);
    const configPath = join(directory, 'config.json');
    const binDir = join(directory, 'bin');
    const runsPath = join(directory, 'runs');
    await mkdir(binDir, { mode: 0o700 });
    for (const { name, response } of plugins) await writePlugin(join(binDir, name), runsPath, response);
    const providers = plugins.map((described) => ({ ...described, response: undefined })); // what is undefined is not written
    const config = { kind: 'CredentialProviderConfig', apiVersion: 'kubelet.config.k8s.io/v1', providers };
    await writeFile(configPath, JSON.stringify(config), { mode: 0o600 });
    const source = new PluginSource({ configPath, binDir, env: { PATH: '/usr/bin:/bin' }, log });
    const lookups = [first_image, row.ref_or_host].map(lookupOfReference);
    const answers = [];
    for (const lookup of lookups) answers.push(await source.resolve(lookup, signal));
    if (row.expect.kind === 'exec_count') return { kind: 'exec_count', lookups: lookups.length, execs: await linesOf(runsPath) };
    const last = answers.at(-1) ?? { kind: 'none' };
    // A row that expects one credential means the one that is tried first.
    return describeAnswer(last.kind === 'candidates' ? { ...last, candidates: last.candidates.slice(0, 1) } : last);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function writePlugin(path: string, runsPath: string, { exit, stdout, stderr }: z.infer<typeof plugin>['response']): Promise<void> {
  const lines = [
    '#!/bin/sh',
    `echo run >>${quoted(runsPath)}`,
    `printf %s ${quoted(stdout)}`,
    `printf %s ${quoted(stderr)} >&2`,
    `exit ${exit}`,
    '',
  ];
  await writeFile(path, lines.join('\n'), { mode: 0o700 });
}

async function linesOf(path: string): Promise<number> {
  try {
    return (await readFile(path, 'utf8')).split('\n').length - 1;
  } catch (error) {
    if (isNotFound(error)) return 0;
    throw error;
  }
}
