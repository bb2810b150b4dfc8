import { Secret } from '@soci/keychain';
import { RegistryError } from './errors.ts';

export interface Token {
  readonly value: Secret;
  /** From now on; Infinity for one that does not end. */
  readonly lifeMs: number;
}

const MIN_LIFE_SECONDS = 60;
const MAX_LIFE_SECONDS = 24 * 60 * 60;

/**
 * Reads what a token server answered with 200. A life that is missing, too short or no number is 60 s, and none is longer than a day; it begins when the token was issued.
 *
 * @param server its host, for messages
 * @throws {RegistryError} `PROTOCOL` when there is no token in it
 * @see https://distribution.github.io/distribution/spec/auth/token/
 */
export function readTokenAnswer(body: Uint8Array, server: string, wallMs: number): Token {
  const answer = parseObject(body);
  const value = [answer.get('access_token'), answer.get('token')].find((text) => typeof text === 'string' && text !== '');
  if (typeof value !== 'string' || /[^\u0021-\u007e]/.test(value))
    throw new RegistryError('PROTOCOL', `token server ${server}: no token in its answer`);
  const given = Number(answer.get('expires_in') ?? 0);
  const lifeSeconds = Number.isFinite(given) ? Math.min(Math.max(given, MIN_LIFE_SECONDS), MAX_LIFE_SECONDS) : MIN_LIFE_SECONDS;
  const issuedAt = answer.get('issued_at');
  const issuedMs = typeof issuedAt === 'string' ? Date.parse(issuedAt) : NaN;
  const ageMs = Number.isNaN(issuedMs) ? 0 : Math.max(0, wallMs - issuedMs);
  return { value: Secret.of(value), lifeMs: Math.max(0, lifeSeconds * 1000 - ageMs) };
}

function parseObject(body: Uint8Array): ReadonlyMap<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(body).toString('utf8'));
    if (typeof value === 'object' && value !== null) return new Map(Object.entries(value));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error; // its message quotes the answer: it is not passed on
  }
  return new Map();
}
