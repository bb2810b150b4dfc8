import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CriCredentials, type Login } from '@soci/cri';
import { describeError } from '@soci/errors';
import { DockerConfigSource, firstOf, inDocumentedOrder, PullSecretSource, type CredentialSource, type Lookup } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { RegistryClient } from '@soci/registry';
import { z } from 'zod';
import { credentialSchema, describeAnswer, toCredential } from './credentials.ts';
import { lookupOfReference } from './docker-config.ts';
import type { Outcome, Row } from './row.ts';
import { ScriptedTransport } from './scripted-transport.ts';

const failure = z.object({ kind: z.literal('error'), match: z.string() });
const described = z.union([credentialSchema, failure]);
type Described = z.infer<typeof described>;
/** A source that is `null` is off. */
const input = z.object({
  docker: described,
  cri: credentialSchema.nullable(),
  k8s: credentialSchema.nullable(),
  registry_says: z.number().optional(),
});

const NAMESPACE = 'team-a';
const DIGEST = `sha256:${'ab'.repeat(32)}`;
const ASKS_FOR_LOGIN = { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } };

/** Runs a row of source `chain`: the three sources themselves, each filled as the row says, in the order of the product. */
export async function runChainRow(row: Row, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), 'soci-vector-'));
  try {
    const { docker, cri, k8s, registry_says } = input.parse(row.input);
    const lookup = lookupOfReference(row.ref_or_host);
    using criSource = cri === null ? undefined : fillCri(lookup, cri);
    const chain = firstOf(
      inDocumentedOrder<CredentialSource>({
        dockerConfig: await writeDockerConfig(directory, lookup, docker, log),
        cri: criSource,
        kubernetesSecrets: k8s === null ? undefined : fillSecrets(lookup, k8s, log),
      }),
    );
    if (registry_says !== undefined) return await shownTo(registry_says, lookup, chain, log, signal);
    return describeAnswer(await chain.resolve(lookup, signal));
  } catch (error) {
    signal.throwIfAborted();
    return { kind: 'error', message: describeError(error) };
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function writeDockerConfig(directory: string, { host }: Lookup, credential: Described, log: Logger): Promise<CredentialSource> {
  const path = join(directory, 'config.json');
  const config = credential.kind === 'error' ? { credHelpers: { [host]: 'absent' } } : { auths: authsOf(host, credential) };
  await writeFile(path, JSON.stringify(config), { mode: 0o600 });
  return new DockerConfigSource({ path, env: { PATH: directory }, log });
}

function fillSecrets({ host }: Lookup, credential: z.infer<typeof credentialSchema>, log: Logger): CredentialSource {
  const source = new PullSecretSource({ log });
  const document = JSON.stringify({ auths: authsOf(host, credential) });
  source.put({ namespace: NAMESPACE, name: 'pull', type: 'kubernetes.io/dockerconfigjson', document });
  source.markSynced();
  return source;
}

function fillCri({ reference }: Lookup, described: z.infer<typeof credentialSchema>): CriCredentials {
  const source = new CriCredentials();
  const credential = toCredential(described);
  const login: Login = credential.kind === 'anonymous' ? { kind: 'none' } : { kind: 'credential', credential };
  source.pullStarted(reference.toString(), NAMESPACE, login).succeeded('');
  return source;
}

function authsOf(host: string, credential: z.infer<typeof credentialSchema>): object {
  switch (credential.kind) {
    case 'anonymous':
      return {};
    case 'basic':
      return { [host]: { username: credential.username, password: credential.password } };
    case 'identity_token':
      return { [host]: { identitytoken: credential.token } };
    case 'registry_token':
      return { [host]: { registrytoken: credential.token } };
  }
}

/** What a registry that refuses everything gets to see. */
async function shownTo(status: number, lookup: Lookup, credentials: CredentialSource, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const transport = new ScriptedTransport(() => ({ ...ASKS_FOR_LOGIN, status }));
  await using client = new RegistryClient({ credentials, log, transport, plainHttp: () => false, http: { maxRetries: -1 } });
  const read = Array.fromAsync(client.readBlobRange(lookup.reference, DIGEST, { offsetBytes: 0, lengthBytes: 1 }, signal));
  const [outcome] = await Promise.allSettled([read]);
  const shown = new Set(transport.requests.map(({ authorization }) => authorization).filter((header) => header !== undefined));
  const [header = '', ...others] = shown;
  if (outcome.status === 'fulfilled' || others.length > 0) return { kind: 'other', logins: shown.size };
  const [username, password] = Buffer.from(header.replace('Basic ', ''), 'base64').toString('utf8').split(':', 2);
  return { kind: 'basic', username, password };
}
