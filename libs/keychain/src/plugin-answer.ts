import { basic, type Credential } from './credential.ts';
import { parseGoDuration } from './go-duration.ts';
import { JsonObject, readFirstValue, type JsonValue } from './go-json.ts';

/** For which images an answer holds. */
export type CacheKeyType = 'Image' | 'Registry' | 'Global';

export interface PluginAnswer {
  readonly cacheKeyType: CacheKeyType;
  /** Undefined: as long as the configuration says. Zero or less: not at all. */
  readonly cacheMs: number | undefined;
  /** By key, which is a pattern of images. */
  readonly auth: ReadonlyMap<string, Credential>;
}

/** Why an answer cannot be used. The message never quotes it. */
export class PluginAnswerError extends Error {
  override readonly name = 'PluginAnswerError';
}

const CACHE_KEY_TYPES: readonly string[] = ['Image', 'Registry', 'Global'] satisfies CacheKeyType[];
const MAX_ENTRIES = 1_000;

/**
 * Parses a CredentialProviderResponse.
 *
 * @param apiVersion that the request had; the answer has to have the same
 * @throws {PluginAnswerError}
 * @see https://kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1/
 */
export function parsePluginAnswer(text: string, apiVersion: string): PluginAnswer {
  const top = readObject(text);
  const version = member(top, 'apiVersion');
  if (version !== apiVersion) throw new PluginAnswerError(`its answer is not of apiVersion ${apiVersion}`);
  if (member(top, 'kind') !== 'CredentialProviderResponse') throw new PluginAnswerError('its answer is no CredentialProviderResponse');
  const cacheKeyType = member(top, 'cacheKeyType');
  if (!isCacheKeyType(cacheKeyType)) throw new PluginAnswerError(`its answer has no cacheKeyType of ${CACHE_KEY_TYPES.join(', ')}`);
  return { cacheKeyType, cacheMs: readDuration(member(top, 'cacheDuration')), auth: readAuth(member(top, 'auth')) };
}

function readObject(text: string): JsonObject {
  try {
    const value = readFirstValue(text)?.value;
    if (value instanceof JsonObject) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new PluginAnswerError('its answer is not a JSON object');
}

function readDuration(value: JsonValue): number | undefined {
  if (value === null) return undefined;
  const ms = typeof value === 'string' ? parseGoDuration(value) : undefined;
  if (ms === undefined) throw new PluginAnswerError('its cacheDuration is no duration');
  return ms;
}

function readAuth(value: JsonValue): ReadonlyMap<string, Credential> {
  const auth = new Map<string, Credential>();
  if (value === null) return auth;
  if (!(value instanceof JsonObject)) throw new PluginAnswerError('its auth is not an object');
  if (value.members.length > MAX_ENTRIES) throw new PluginAnswerError(`its auth has more than ${MAX_ENTRIES} entries`);
  for (const [key, entry] of value.members) {
    const username = entry instanceof JsonObject ? (member(entry, 'username') ?? '') : undefined;
    const password = entry instanceof JsonObject ? (member(entry, 'password') ?? '') : undefined;
    if (typeof username !== 'string' || typeof password !== 'string')
      throw new PluginAnswerError('its auth has an entry without user name and password');
    if (username !== '' || password !== '') auth.set(key, basic(username, password));
  }
  return auth;
}

/** The last member of this very name; null when there is none, which means the same. */
function member(object: JsonObject, name: string): JsonValue {
  return object.members.findLast(([key]) => key === name)?.[1] ?? null;
}

function isCacheKeyType(value: JsonValue): value is CacheKeyType {
  return typeof value === 'string' && CACHE_KEY_TYPES.includes(value);
}
