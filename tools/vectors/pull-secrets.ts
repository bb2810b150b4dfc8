import { parseReference } from '@soci/image';
import { Keyring, parsePullSecret, PullSecretSource, type Candidate, type KeyringEntry, type PullSecretType } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { z } from 'zod';
import { describeAnswer, describeCredential } from './credentials.ts';
import { lookupOfReference } from './docker-config.ts';
import type { Outcome, Row } from './row.ts';

const DATA_MEMBER: Readonly<Record<PullSecretType, string>> = {
  'kubernetes.io/dockerconfigjson': '.dockerconfigjson',
  'kubernetes.io/dockercfg': '.dockercfg',
};
const name = { namespace: z.string(), name: z.string() };
const secret = z.object({ ...name, type: z.string(), data: z.record(z.string(), z.string()) });
type Secret = z.infer<typeof secret>;
const event = z.discriminatedUnion('op', [
  z.object({ op: z.literal('update'), secret }),
  z.object({ op: z.literal('delete'), secret: z.object(name) }),
]);
const input = z.object({ secrets: z.array(secret), events: z.array(event).default([]), synced: z.boolean().default(true) });

/** Runs a row of source `k8s-keyring`: every credential the keyring gives, in its order. */
export function runKeyringRow(row: Row): Outcome {
  const entries: KeyringEntry[] = [];
  for (const { namespace, name, type, data } of input.parse(row.input).secrets) {
    if (!isPullSecretType(type)) continue;
    for (const [key, credential] of parsePullSecret(type, data[DATA_MEMBER[type]] ?? '').auths)
      entries.push({ key, candidate: { credential, entry: `secret ${namespace}/${name}` } });
  }
  const { host, repository } = parseReference(row.ref_or_host);
  return listOf([...new Keyring(entries).match(host, repository)]);
}

/** Runs a row of source `k8s-secret`. A row that expects one credential means the one that is tried first. */
export async function runPullSecretRow(row: Row, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const { secrets, events, synced } = input.parse(row.input);
  const source = new PullSecretSource({ log });
  for (const listed of secrets) put(source, listed);
  if (synced) source.markSynced();
  for (const change of events) {
    if (change.op === 'update') put(source, change.secret);
    else source.remove(change.secret.namespace, change.secret.name);
  }
  signal.throwIfAborted();
  const answer = await source.resolve(lookupOfReference(row.ref_or_host));
  if (answer.kind !== 'candidates') return describeAnswer(answer);
  if (row.expect.kind !== 'candidates') return describeAnswer({ ...answer, candidates: answer.candidates.slice(0, 1) });
  return listOf(answer.candidates);
}

/** The API server sends the two types of its field selector and nothing else. */
function put(source: PullSecretSource, { namespace, name, type, data }: Secret): void {
  if (isPullSecretType(type)) source.put({ namespace, name, type, document: data[DATA_MEMBER[type]] });
}

function isPullSecretType(type: string): type is PullSecretType {
  return Object.hasOwn(DATA_MEMBER, type);
}

/** Rows write a list of logins without their kind. */
function listOf(candidates: readonly Candidate[]): Outcome {
  return { kind: 'candidates', list: candidates.map(({ credential }) => withoutKind(describeCredential(credential))) };
}

function withoutKind({ kind, ...members }: Outcome): object {
  return kind === 'basic' ? members : { kind, ...members };
}
