import { describeError } from '@soci/errors';
import { ImageReference } from '@soci/image';
import type { Answer, CredentialSource } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { expiredLoginChallenge, RegistryClient, type Clock } from '@soci/registry';
import { z } from 'zod';
import { credentialSchema, toCredential } from './credentials.ts';
import type { Outcome, Row } from './row.ts';
import { ScriptedTransport, type RecordedRequest, type ScriptedAnswer } from './scripted-transport.ts';

const input = z.object({
  status: z.number().optional(),
  sequence: z.array(z.number()).optional(),
  www_authenticate: z.array(z.string()).default([]),
  body: z.unknown().optional(),
  body_text: z.string().optional(),
  content_type: z.string().optional(),
  host: z.string().optional(),
  url: z.string().optional(),
  redirected_from: z.string().optional(),
  token_was_sent: z.boolean().default(false),
  token_age_exceeds_ttl: z.boolean().default(false),
  first_lookup: credentialSchema.optional(),
  then_lookup: credentialSchema.optional(),
});
type Input = z.infer<typeof input>;

const TOKEN_HOST = 'auth.example.com';
const STORAGE = 'https://storage.example.com/blob?sig=signed';
const TOKEN_LIFE_MS = 300_000;
const DIGEST = `sha256:${'ab'.repeat(32)}`;
const BLOB = 'x';
const BEARER_CHALLENGE = `Bearer realm="https://${TOKEN_HOST}/token",service="registry.example.com"`;

/** Runs a row of source `refresh`: a whole client reads a blob, the row's answer comes in its way, and what the client did is told from the requests that it made. */
export async function runRefreshRow(row: Row, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const scene = new Scene(input.parse(row.input));
  await using client = new RegistryClient({
    credentials: scene.source,
    log,
    transport: scene.transport,
    clock: scene.clock,
    plainHttp: () => false,
    http: { maxRetries: -1 },
  });
  const read = async (): Promise<unknown> => {
    try {
      await Array.fromAsync(client.readBlobRange(scene.reference, DIGEST, { offsetBytes: 0, lengthBytes: BLOB.length }, signal));
      return undefined;
    } catch (error) {
      signal.throwIfAborted();
      return error;
    }
  };
  if (scene.needsFirstRead) await read();
  scene.arm();
  const error = await read();
  return { kind: 'action', ...scene.action(error), ...(error === undefined ? {} : { error: describeError(error) }) };
}

/** A registry, its token server and its storage, and one read of a blob to be disturbed. */
class Scene {
  readonly reference: ImageReference;
  readonly transport: ScriptedTransport;
  readonly source: CredentialSource;
  readonly clock: Clock;
  readonly needsFirstRead: boolean;
  readonly #row: Input;
  readonly #host: string;
  readonly #isStorageRow: boolean;
  #nowMs = 0;
  #lookups = 0;
  #tokens = 0;
  #disturbances = 0;
  #armedAt = Infinity;

  constructor(row: Input) {
    this.#row = row;
    this.#host = row.host ?? new URL(row.redirected_from ?? row.url ?? 'https://registry.example.com').host;
    this.#isStorageRow = row.content_type === 'application/xml';
    this.needsFirstRead = row.token_was_sent || this.#isStorageRow || row.first_lookup !== undefined;
    this.reference = new ImageReference({ host: this.#host, repository: 'a' });
    this.transport = new ScriptedTransport((request) => this.#answer(request));
    this.clock = { nowMs: () => this.#nowMs, wallMs: () => this.#nowMs, sleep: () => Promise.resolve() };
    this.source = { name: 'row', resolve: () => Promise.resolve(this.#lookUp()) };
  }

  /** From now on the row's answer is given. */
  arm(): void {
    this.#armedAt = this.transport.requests.length;
    if (this.#row.first_lookup === undefined) this.#lookups = 0;
  }

  action(error: unknown): Record<string, unknown> {
    const seen = this.transport.requests.slice(this.#armedAt);
    const atRegistry = seen.filter(({ url }) => url.host === this.#host);
    const exchanges = seen.filter(({ url }) => url.host === TOKEN_HOST);
    const leaked = seen.some(({ url, authorization }) => authorization !== undefined && url.host !== this.#host && url.host !== TOKEN_HOST);
    const [first, last] = [seen[0], atRegistry.at(-1)];
    if (leaked) return { action: 'credential_leaked' };
    if (error !== undefined) {
      if (this.#row.redirected_from !== undefined) return { action: this.#lookups === 0 ? 'fail_without_credentials' : 'other' };
      return { action: seen.length === 1 && this.#lookups === 0 ? 'pass_through' : 'fail' };
    }
    if (this.#isStorageRow) return { action: exchanges.length === 0 && atRegistry.length === 1 ? 'refresh_blob_url' : 'other' };
    if (first?.authorization !== undefined && first.authorization === last?.authorization) return { action: 'resend_same_token' };
    if (this.#row.then_lookup !== undefined)
      return { action: this.#lookups > 1 && exchanges.at(-1)?.authorization !== undefined ? 'lookup_again_and_exchange' : 'other' };
    if (atRegistry.length !== 2) return { action: 'other' };
    if (first?.authorization !== undefined && this.#row.www_authenticate.length > 0)
      return { action: exchanges.length === 1 ? 'drop_token_and_exchange' : 'other' };
    return { action: 'reauthenticate_and_retry_once', ...this.#challengeUsed(first, last) };
  }

  /** What of the challenge can be told: the scheme from the header, the rest from what the client makes up where there was none. */
  #challengeUsed(first: RecordedRequest | undefined, last: RecordedRequest | undefined): Record<string, unknown> {
    if (this.#row.www_authenticate.length > 0) return {};
    if (first?.authorization !== undefined) return { using: 'remembered challenge' };
    const { params } = expiredLoginChallenge(new URL(`https://${this.#host}/`));
    return { scheme: last?.authorization?.split(' ', 1)[0]?.toLowerCase(), ...Object.fromEntries(params) };
  }

  #lookUp(): Answer {
    const { first_lookup, then_lookup } = this.#row;
    const described =
      ++this.#lookups === 1 && first_lookup !== undefined
        ? first_lookup
        : (then_lookup ?? { kind: 'basic', username: 'alice', password: 's3cret-1' });
    return described.kind === 'anonymous'
      ? { kind: 'none' }
      : { kind: 'candidates', source: 'row', candidates: [{ credential: toCredential(described), entry: 'row' }] };
  }

  #answer(request: RecordedRequest): ScriptedAnswer {
    const { url } = request;
    const isArmed = this.transport.requests.length > this.#armedAt;
    if (url.host === TOKEN_HOST)
      return { status: 200, body: JSON.stringify({ token: this.#tokenFor(request), expires_in: TOKEN_LIFE_MS / 1000 }) };
    if (url.href === this.#row.url && this.#row.redirected_from !== undefined) return this.#disturbance(401);
    if (url.host === new URL(STORAGE).host) return isArmed && this.#disturbances === 0 ? this.#disturbance(this.#row.status ?? 0) : blob();
    if (this.#row.redirected_from !== undefined) return { status: 307, headers: { location: this.#row.url ?? '' } };
    if (this.#isStorageRow) return request.authorization === undefined ? challenge() : { status: 307, headers: { location: STORAGE } };
    if (!isArmed) return this.#isWelcome(request) ? blob() : challenge();
    const status = this.#row.sequence === undefined ? this.#row.status : (this.#row.sequence[this.#disturbances] ?? 200);
    const isDisturbed = this.#row.sequence !== undefined || this.#disturbances === 0 || !this.#isWelcome(request);
    return isDisturbed && status !== undefined && status !== 200 ? this.#disturbance(status) : blob();
  }

  /** Whether the registry takes what is shown: any login but one that an anonymous answer of the source led to. */
  #isWelcome({ authorization }: RecordedRequest): boolean {
    return authorization !== undefined && !authorization.endsWith('anonymous');
  }

  #tokenFor({ authorization }: RecordedRequest): string {
    return `token-${++this.#tokens}-${authorization === undefined ? 'anonymous' : 'login'}`;
  }

  #disturbance(status: number): ScriptedAnswer {
    this.#disturbances++;
    if (this.#row.token_age_exceeds_ttl) this.#nowMs += TOKEN_LIFE_MS;
    const body = this.#row.body_text ?? (this.#row.body === undefined ? '' : JSON.stringify(this.#row.body));
    return {
      status,
      body,
      headers: { 'www-authenticate': this.#row.www_authenticate, 'content-type': this.#row.content_type ?? 'application/json' },
    };
  }
}

function blob(): ScriptedAnswer {
  return { status: 206, body: BLOB, headers: { 'content-range': `bytes 0-${BLOB.length - 1}/${BLOB.length}` } };
}

function challenge(): ScriptedAnswer {
  return { status: 401, headers: { 'www-authenticate': BEARER_CHALLENGE } };
}
