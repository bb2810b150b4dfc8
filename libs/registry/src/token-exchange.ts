import type { Credential } from '@soci/keychain';
import { isLoopbackHost } from './addresses.ts';
import type { BearerChallenge } from './challenge.ts';
import type { Clock } from './clock.ts';
import { RegistryError } from './errors.ts';
import { checkRealm, type RealmPolicy } from './realm.ts';
import { readErrorAnswer } from './registry-answer.ts';
import type { RegistryHost } from './registry-host.ts';
import type { RepeatableRequest, RetryingSender } from './retry.ts';
import { readTokenAnswer, type Token } from './token-answer.ts';
import { readBody, type HttpResponse } from './transport.ts';

export interface TokenWish {
  readonly challenge: BearerChallenge;
  readonly scopes: readonly string[];
  readonly credential: Credential;
  /** Where the challenge came from. */
  readonly registry: URL;
  /** Whose settings for connections count; its headers go to its own origin alone. */
  readonly via?: RegistryHost;
}

export interface TokenExchangeOptions {
  readonly sender: RetryingSender;
  readonly clock: Clock;
  readonly policy: RealmPolicy;
  readonly userAgent: string;
}

const CLIENT_ID = 'soci';
const MAX_REDIRECTS = 3;
const MAX_ANSWER_BYTES = 128 * 1024;
/** How a server says that it does not speak the OAuth dialect. */
const NO_OAUTH_STATUSES = [400, 404, 405];
/** The user name under which an identity token is shown to a server that speaks the older dialect only. */
const IDENTITY_TOKEN_USER = '<token>';

/** Asks token servers: GET with Basic for passwords (every server has it, and no refused attempt is counted against the account), POST for identity tokens. */
export class TokenExchange {
  readonly #options: TokenExchangeOptions;

  constructor(options: TokenExchangeOptions) {
    this.#options = options;
  }

  /**
   * @throws {RegistryError} `UNAUTHORIZED` when the server refuses the credential, `REALM_REFUSED`, `RATE_LIMITED`, `UNAVAILABLE`, `PROTOCOL`, and what sending throws
   */
  async fetch(wish: TokenWish, signal: AbortSignal): Promise<Token> {
    const { credential, challenge, registry } = wish;
    if (credential.kind === 'registry_token') return { value: credential.token, lifeMs: Infinity };
    checkRealm(challenge.realm, registry, this.#options.policy);
    if (credential.kind !== 'identity_token')
      return this.#read(await this.#send(this.#get(wish, basicHeader(credential)), wish, signal), wish, signal);
    if (challenge.realm.protocol !== 'https:' && !isLoopbackHost(challenge.realm.hostname)) {
      throw new RegistryError(
        'REALM_REFUSED',
        `realm ${challenge.realm.host} of registry ${registry.host} refused: an identity token is not sent in clear text`,
      );
    }
    const response = await this.#send(this.#post(wish, credential.token.reveal()), wish, signal);
    if (!NO_OAUTH_STATUSES.includes(response.status)) return this.#read(response, wish, signal);
    response.body.discard();
    const header = basicHeader({ kind: 'basic', username: IDENTITY_TOKEN_USER, password: credential.token });
    return this.#read(await this.#send(this.#get(wish, header), wish, signal), wish, signal);
  }

  #get({ challenge, scopes }: TokenWish, authorization: string | undefined): RepeatableRequest {
    const url = new URL(challenge.realm);
    const service = challenge.params.get('service') ?? '';
    if (service !== '') url.searchParams.set('service', service);
    for (const scope of scopes) url.searchParams.append('scope', scope);
    url.searchParams.set('client_id', CLIENT_ID);
    return { method: 'GET', url, purpose: 'token', headers: this.#headers(authorization === undefined ? {} : { authorization }) };
  }

  #post({ challenge, scopes }: TokenWish, refreshToken: string): RepeatableRequest {
    const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: CLIENT_ID, service: challenge.params.get('service') ?? '' });
    if (scopes.length > 0) form.set('scope', scopes.join(' '));
    form.set('refresh_token', refreshToken);
    const body = Buffer.from(form.toString());
    return {
      method: 'POST',
      url: new URL(challenge.realm),
      purpose: 'token',
      headers: this.#headers({ 'content-type': 'application/x-www-form-urlencoded' }),
      body: () => body,
    };
  }

  #headers(more: Readonly<Record<string, string>>): Record<string, string> {
    return { accept: 'application/json', 'user-agent': this.#options.userAgent, ...more };
  }

  /** Follows the server's redirects under the rules of the realm itself: neither password nor form goes to another origin. */
  async #send(request: RepeatableRequest, { registry, via }: TokenWish, signal: AbortSignal): Promise<HttpResponse> {
    let current = request;
    for (let hop = 0; ; hop++) {
      const response = await this.#options.sender.send(withSettings(current, via), signal);
      if (response.status < 300 || response.status > 399) return response;
      response.body.discard();
      const next = URL.parse(response.header('location') ?? '', current.url.href);
      const refuse = (why: string): RegistryError =>
        new RegistryError('REALM_REFUSED', `redirect of token server ${current.url.host} refused: ${why}`);
      if (next === null) throw refuse('no usable location');
      if (hop >= MAX_REDIRECTS) throw refuse(`more than ${MAX_REDIRECTS} in a row`);
      checkRealm(next, registry, this.#options.policy);
      const isSameOrigin = next.origin === current.url.origin;
      if (current.method !== 'GET' && !isSameOrigin) throw refuse('a credential would go to another origin');
      if (current.url.protocol === 'https:' && next.protocol !== 'https:') throw refuse('from https to http');
      current = { ...current, url: next, headers: isSameOrigin ? current.headers : this.#headers({}) };
    }
  }

  async #read(response: HttpResponse, { challenge }: TokenWish, signal: AbortSignal): Promise<Token> {
    const server = challenge.realm.host;
    const { status } = response;
    if (status === 200) {
      const body = await readBody(response.body, MAX_ANSWER_BYTES);
      if (body === undefined) throw new RegistryError('PROTOCOL', `token server ${server}: answer longer than ${MAX_ANSWER_BYTES} bytes`);
      const token = readTokenAnswer(body, server, this.#options.clock.wallMs());
      body.fill(0);
      return token;
    }
    const { codes } = await readErrorAnswer(response, signal);
    const what = [`token server ${server} answered ${status}`, ...codes].join(' ');
    if (status === 401 || status === 403) throw new RegistryError('UNAUTHORIZED', what, { status });
    if (status === 429) throw new RegistryError('RATE_LIMITED', what, { status });
    throw new RegistryError(status >= 500 ? 'UNAVAILABLE' : 'PROTOCOL', what, { status });
  }
}

function withSettings(request: RepeatableRequest, via: RegistryHost | undefined): RepeatableRequest {
  const connection = via?.connectionFor(request.url);
  const headers = { ...via?.headersFor(request.url), ...request.headers };
  return { ...request, headers, ...(connection === undefined ? {} : { connection }) };
}

/** The value of an `Authorization` header; undefined for anonymous. */
export function basicHeader(credential: Credential): string | undefined {
  if (credential.kind !== 'basic') return undefined;
  const user = Buffer.from(`${credential.username}:`, 'utf8');
  return `Basic ${Buffer.concat([user, credential.password.revealBytes()]).toString('base64')}`;
}
