import type { Credential } from './credential.ts';
import { credentialOf, decodeAuth, EntryError, type Padding } from './docker-auth-entry.ts';
import { JsonObject, readFirstValue, type JsonValue } from './go-json.ts';

/** Types of Kubernetes secrets that hold registry credentials. */
export type PullSecretType = 'kubernetes.io/dockerconfigjson' | 'kubernetes.io/dockercfg';

/** The entries of a map such as `auths`. Maps, so that no registry is called `constructor`. */
export interface AuthEntries {
  /** By key as written; an entry without a credential is not there. */
  readonly auths: ReadonlyMap<string, Credential>;
  /** Entries that cannot be used, with the reason. They do not harm the others. */
  readonly skipped: readonly { readonly key: string; readonly reason: string }[];
}

/** What of a config.json concerns credentials. */
export interface DockerConfig extends AuthEntries {
  /** Helper by key; an empty name means the file itself. */
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore: string;
}

/**
 * Parses a config.json the way docker/cli's reader takes it: names of members without regard to letter case, the first JSON value only,
 * an empty file is an empty configuration.
 *
 * @throws {SyntaxError} the file as a whole cannot be used
 */
export function parseDockerConfig(text: string): DockerConfig {
  const top = readFirstValue(text)?.value ?? null;
  if (top !== null && !(top instanceof JsonObject)) throw new SyntaxError('not a JSON object');
  const { auths, skipped } = readAuths(mergedMap(top, 'auths'), 'required');
  const credHelpers = new Map([...mergedMap(top, 'credHelpers')].map(([key, value]) => [key, asText(value, 'credHelpers')]));
  const stores = (top?.all('credsStore') ?? []).filter((value) => value !== null);
  return { auths, credHelpers, credsStore: asText(stores.at(-1) ?? null, 'credsStore'), skipped };
}

/**
 * Parses what a pull secret holds: `.dockerconfigjson`, of which helpers are taken for absent (whoever may write a secret must not choose a program that root runs),
 * or the older `.dockercfg`, the bare map of entries.
 *
 * @throws {SyntaxError} the secret as a whole cannot be used
 */
export function parsePullSecret(type: PullSecretType, text: string): AuthEntries {
  const top = readFirstValue(text)?.value ?? null;
  if (top !== null && !(top instanceof JsonObject)) throw new SyntaxError('not a JSON object');
  const entries = type === 'kubernetes.io/dockercfg' ? new Map(top?.members ?? []) : mergedMap(top, 'auths');
  return readAuths(entries, 'optional');
}

/** One bad entry does not harm the others. */
function readAuths(entries: ReadonlyMap<string, JsonValue>, padding: Padding): AuthEntries {
  const auths = new Map<string, Credential>();
  const skipped: { key: string; reason: string }[] = [];
  for (const [key, entry] of entries) {
    try {
      const credential = credentialOf(entry, padding);
      if (credential !== undefined) auths.set(key, credential);
    } catch (error) {
      if (!(error instanceof EntryError)) throw error;
      skipped.push({ key, reason: error.message });
    }
  }
  return { auths, skipped };
}

/**
 * Parses the value of `DOCKER_AUTH_CONFIG`: one document of the same shape in which an entry has `auth` and nothing else.
 *
 * @throws {SyntaxError | EntryError} the variable as a whole is to be ignored
 */
export function parseDockerAuthConfig(text: string): ReadonlyMap<string, Credential> {
  const first = readFirstValue(text);
  if (first === undefined) return new Map();
  if (first.rest.trim() !== '') throw new SyntaxError('more than one JSON document');
  if (!(first.value instanceof JsonObject)) throw new SyntaxError('not a JSON object');
  refuseOthers(first.value, 'auths');
  const auths = new Map<string, Credential>();
  for (const [key, entry] of mergedMap(first.value, 'auths')) {
    if (!(entry instanceof JsonObject)) throw new EntryError('an entry is not an object');
    refuseOthers(entry, 'auth');
    const auth = entry.all('auth').at(-1);
    if (typeof auth !== 'string' || auth === '') throw new EntryError('an entry has no auth');
    auths.set(key, decodeAuth(auth));
  }
  return auths;
}

/** The members of a map that may be given several times: later ones are added, a `null` empties it. */
function mergedMap(top: JsonObject | null, name: string): Map<string, JsonValue> {
  const merged = new Map<string, JsonValue>();
  for (const value of top?.all(name) ?? []) {
    if (value === null) merged.clear();
    else if (value instanceof JsonObject) for (const [key, member] of value.members) merged.set(key, member);
    else throw new SyntaxError(`${name} is not an object`);
  }
  return merged;
}

function refuseOthers(object: JsonObject, allowed: string): void {
  if (object.members.some(([name]) => name.toLowerCase() !== allowed)) throw new SyntaxError(`a member other than ${allowed}`);
}

function asText(value: JsonValue, name: string): string {
  if (value === null) return '';
  if (typeof value !== 'string') throw new SyntaxError(`${name} is not a text`);
  return value;
}
