import { describeError } from '@soci/errors';
import { ImageReference } from '@soci/image';
import { ANONYMOUS, StaticSource, type Credential } from '@soci/keychain';
import type { Logger } from '@soci/log';
import {
  Authenticator,
  chooseChallenge,
  cleanScopes,
  DEFAULT_HTTP_OPTIONS,
  parseChallenges,
  RetryingSender,
  TokenExchange,
  type BearerChallenge,
  type Clock,
} from '@soci/registry';
import { z } from 'zod';
import { credentialSchema, toCredential } from './credentials.ts';
import type { Outcome, Row } from './row.ts';
import { ScriptedTransport, type ScriptedAnswer } from './scripted-transport.ts';

const answer = z.object({ status: z.number(), body: z.unknown() });
const input = z.object({
  scopes: z.array(z.string()).optional(),
  status: z.number().optional(),
  body: z.unknown().optional(),
  then: answer.optional(),
  now: z.string().optional(),
  credential: credentialSchema.optional(),
  realm: z.string().default('https://auth.example.com/token'),
  registry: z.string().default('https://registry.example.com'),
  first_status: z.number().optional(),
});
type Input = z.infer<typeof input>;

const SCOPES = ['repository:team/app:pull'];

/** Runs a row of source `token`: what is asked of a token server, what its answer is taken for, and how scopes are normalised. */
export async function runTokenRow(row: Row, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const described = input.parse(row.input);
  if (described.scopes !== undefined) return { kind: 'scopes', list: cleanScopes(described.scopes) };
  try {
    return described.then === undefined ? await exchangeOnce(row, described, log, signal) : await exchangeTwice(described, log, signal);
  } catch (error) {
    signal.throwIfAborted();
    return { kind: 'error', message: describeError(error) };
  }
}

async function exchangeOnce(row: Row, described: Input, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const { transport, exchange } = setUp(described, log);
  const credential: Credential = described.credential === undefined ? ANONYMOUS : toCredential(described.credential);
  const token = await exchange.fetch(
    { challenge: challengeOf(described), scopes: SCOPES, credential, registry: new URL(described.registry) },
    signal,
  );
  if (row.expect.kind === 'request') {
    const last = transport.requests.at(-1);
    return {
      kind: 'request',
      method: last?.method,
      authorization: last?.authorization ?? null,
      grant_type: new URLSearchParams(last?.body).get('grant_type'),
    };
  }
  return { kind: 'token', token: token.value.reveal(), ttl_seconds: seconds(token.lifeMs) };
}

/** The first exchange fails; the next request for a token has to try again. */
async function exchangeTwice(described: Input, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const { exchange, clock } = setUp(described, log);
  const credentials = new StaticSource({ name: 'row', credential: ANONYMOUS, host: 'registry.example.com' });
  const authenticator = new Authenticator({ credentials, exchange, clock, log });
  const reference = new ImageReference({ host: 'registry.example.com', repository: 'team/app' });
  const errand = { host: reference.host, registry: new URL(described.registry), reference, namespaces: [], scopes: SCOPES };
  let firstError: unknown;
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      for await (const made of authenticator.attempts(
        errand,
        challengeOf(described),
        { used: undefined, rejections: [], logins: new Set() },
        signal,
      )) {
        return { kind: 'token', token: made.header()?.replace(/^Bearer /, ''), ttl_seconds: seconds(made.expiresAtMs - clock.nowMs()) };
      }
    } catch (error) {
      firstError ??= error;
    }
  }
  return { kind: 'error', message: describeError(firstError) };
}

function setUp(
  described: Input,
  log: Logger,
): { readonly transport: ScriptedTransport; readonly exchange: TokenExchange; readonly clock: Clock } {
  const answers: ScriptedAnswer[] = [];
  if (described.status !== undefined) answers.push(json(described.status, described.body));
  if (described.first_status !== undefined) answers.push({ status: described.first_status });
  if (described.then !== undefined) answers.push(json(described.then.status, described.then.body));
  const transport = new ScriptedTransport(() => answers.shift() ?? json(200, { token: 'issued', expires_in: 300 }));
  const wallMs = Date.parse(described.now ?? '2024-01-01T00:00:00Z');
  const clock: Clock = { nowMs: () => 0, wallMs: () => wallMs, sleep: () => Promise.resolve() };
  const sender = new RetryingSender({ transport, http: { ...DEFAULT_HTTP_OPTIONS, maxRetries: -1 }, clock, log });
  return { transport, clock, exchange: new TokenExchange({ sender, clock, policy: { trustedRealms: [] }, userAgent: 'vectors' }) };
}

function challengeOf({ realm }: Input): BearerChallenge {
  const challenge = chooseChallenge(parseChallenges([`Bearer realm="${realm}",service="registry.example.com"`]));
  if (challenge.scheme !== 'bearer') throw new Error('not a bearer challenge');
  return challenge;
}

function json(status: number, body: unknown): ScriptedAnswer {
  return { status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

function seconds(ms: number): number | null {
  return Number.isFinite(ms) ? ms / 1000 : null;
}
