import { parseReference } from '@soci/image';
import { Keyring, parsePullSecret, type KeyringEntry, type PullSecretType } from '@soci/keychain';
import { z } from 'zod';
import type { Outcome, Row } from './row.ts';

const DATA_MEMBER: Readonly<Record<PullSecretType, string>> = {
  'kubernetes.io/dockerconfigjson': '.dockerconfigjson',
  'kubernetes.io/dockercfg': '.dockercfg',
};
const secret = z.object({
  namespace: z.string(),
  name: z.string(),
  type: z.enum(['kubernetes.io/dockerconfigjson', 'kubernetes.io/dockercfg']),
  data: z.record(z.string(), z.string()),
});
const input = z.object({ secrets: z.array(secret) });

/** Runs a row of source `k8s-keyring`: every credential the keyring gives, in its order. */
export function runKeyringRow(row: Row): Outcome {
  const entries: KeyringEntry[] = [];
  for (const { namespace, name, type, data } of input.parse(row.input).secrets) {
    for (const [key, credential] of parsePullSecret(type, data[DATA_MEMBER[type]] ?? '').auths)
      entries.push({ key, candidate: { credential, entry: `secret ${namespace}/${name}` } });
  }
  const { host, repository } = parseReference(row.ref_or_host);
  const list = new Keyring(entries)
    .match(host, repository)
    .map(({ credential }) =>
      credential.kind === 'basic' ? { username: credential.username, password: credential.password.reveal() } : { kind: credential.kind },
    );
  return { kind: 'candidates', list };
}
