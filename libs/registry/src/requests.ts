import type { ImageReference } from '@soci/image';
import { isHubHost } from '@soci/keychain';
import type { Authenticator, Authorization, Errand, Rejection, Tried } from './authenticator.ts';
import type { Clock } from './clock.ts';
import { RegistryError, type RegistryErrorCode } from './errors.ts';
import { judgeAnswer, type Answered, type Judgement } from './judge.ts';
import { nextHop } from './redirects.ts';
import { readErrorAnswer, type ErrorAnswer } from './registry-answer.ts';
import type { RepeatableRequest, RetryingSender } from './retry.ts';
import type { HttpResponse } from './transport.ts';

/** One request of the distribution specification. */
export interface RegistryCall {
  readonly method: RepeatableRequest['method'];
  readonly reference: ImageReference;
  /** Behind `/v2/`: `team/app/manifests/1.0`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** In place of `path`: an address the registry gave, such as that of an upload. */
  readonly url?: URL;
  readonly scopes: readonly string[];
  /** What the request is about, for messages: `manifest team/app:1.0`. */
  readonly subject: string;
  /** Statuses that are an answer; any other is thrown. */
  readonly expect: readonly number[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: () => Uint8Array | AsyncIterable<Uint8Array>;
  /** See `RepeatableRequest`. */
  readonly once?: boolean;
  readonly unlimited?: boolean;
  readonly responseHeaderTimeoutMs?: number;
  /** A redirect is an answer, too, and not followed. */
  readonly isRedirectAnswer?: boolean;
}

/** An answer and the address it came from, after redirects. */
export interface Reply {
  readonly response: HttpResponse;
  readonly url: URL;
}

export interface RequestsOptions {
  readonly sender: RetryingSender;
  readonly authenticator: Authenticator;
  readonly clock: Clock;
  readonly userAgent: string;
  readonly isPlainHttp: (host: string) => boolean;
  /** Kubernetes namespaces that requests are made for. */
  readonly namespaces?: readonly string[];
}

type Leg = Reply & Answered;

const HUB_API_HOST = 'registry-1.docker.io';
const MAX_MOVES = 1;

/** Sends requests to registries: with what they want to see, through redirects, and twice where the first answer says so. */
export class RegistryRequests {
  readonly #options: RequestsOptions;

  constructor(options: RequestsOptions) {
    this.#options = options;
  }

  /** The same, on behalf of Kubernetes namespaces. */
  forNamespaces(namespaces: readonly string[]): RegistryRequests {
    return new RegistryRequests({ ...this.#options, namespaces: [...namespaces].sort() });
  }

  get namespaces(): readonly string[] {
    return this.#options.namespaces ?? [];
  }

  /** The origin that requests for a reference go to first. */
  originOf(reference: ImageReference): string {
    return this.#registryOf(hostOf(reference)).origin;
  }

  /**
   * @returns an answer with one of the expected statuses; its body is the caller's to read or discard
   * @throws {RegistryError} the message names method, subject and host
   */
  async perform(call: RegistryCall, signal: AbortSignal): Promise<Reply> {
    const host = hostOf(call.reference);
    try {
      const { reference, scopes } = call;
      const errand: Errand = { host, registry: this.#registryOf(host), reference, namespaces: this.namespaces, scopes };
      return await this.#perform(call, errand, 0, signal);
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      throw new RegistryError(error.code, `${call.method} ${call.subject} at ${host}: ${error.message}`, {
        cause: error.cause,
        ...(error.status === undefined ? {} : { status: error.status }),
      });
    }
  }

  #registryOf(host: string): URL {
    const url = URL.parse(`${this.#options.isPlainHttp(host) ? 'http' : 'https'}://${host}/v2/`);
    if (url === null) throw new RegistryError('PROTOCOL', `${host} is not a host name`);
    return url;
  }

  async #perform(call: RegistryCall, errand: Errand, moves: number, signal: AbortSignal): Promise<Reply> {
    for (let round = 0; ; round++) {
      const leg = await this.#authorized(call, errand, moves, signal);
      if (leg.answer === undefined) return leg;
      const isAddressExpired = leg.answer.isAddressExpired || (leg.isForeign && (leg.status === 401 || leg.status === 403));
      if (!isAddressExpired || round > 0) throw statusError(leg.status, leg.answer, leg.isForeign ? leg.url : undefined);
    }
  }

  /** Sends the request with what is known, and once more for each credential when the registry refuses. */
  async #authorized(call: RegistryCall, errand: Errand, moves: number, signal: AbortSignal): Promise<Leg> {
    const { authenticator } = this.#options;
    const used = await authenticator.current(errand, signal);
    let leg = await this.#follow(call, errand, used, signal);
    const judged = this.#judge(leg, errand, used);
    if (judged.kind === 'pass') return leg;
    if (judged.kind === 'moved') {
      if (moves >= MAX_MOVES) throw new RegistryError('REDIRECT_REFUSED', 'the registry has moved more than once');
      const registry = new URL('/v2/', leg.url);
      return this.#authorized({ ...call, url: leg.url }, { ...errand, host: registry.host, registry }, moves + 1, signal);
    }
    if (used !== undefined && judged.kind === 'authenticate') authenticator.outdate(errand, used);
    const excluded = judged.kind === 'denied' && used !== undefined ? { excluded: used.fingerprint } : {};
    const tried: Tried = { used, ...excluded, rejections: [] };
    let refusal = judged.answer;
    for await (const authorization of authenticator.attempts(errand, judged.challenge, tried, signal)) {
      leg = await this.#follow(call, errand, authorization, signal);
      const again = this.#judge(leg, errand, authorization);
      if (again.kind === 'pass') {
        authenticator.accept(errand, authorization);
        return leg;
      }
      if (again.kind === 'moved') throw new RegistryError('REDIRECT_REFUSED', 'the registry moved while it was logged in to');
      authenticator.refuse(errand, authorization, tried);
      refusal = again.answer;
      tried.rejections.push({ origin: authorization.origin, why: [`answered ${leg.status}`, ...refusal.codes].join(' ') });
    }
    throw refusedError(leg.status, refusal, tried.rejections);
  }

  /** Follows redirects; what is shown to the registry's own origin is shown to nobody else. */
  async #follow(call: RegistryCall, errand: Errand, authorization: Authorization | undefined, signal: AbortSignal): Promise<Leg> {
    let url = withQuery(call.url ?? new URL(call.path, errand.registry), call.query ?? {});
    let isMoved = true;
    for (let hop = 0; ; hop++) {
      const response = await this.#options.sender.send(
        this.#request(call, url, url.origin === errand.registry.origin ? authorization : undefined),
        signal,
      );
      const { status } = response;
      const isForeign = url.origin !== errand.registry.origin;
      if (!isRedirect(status) || call.isRedirectAnswer === true) {
        const isExpected = call.expect.includes(status) || isRedirect(status);
        const answer = isExpected ? undefined : await readErrorAnswer(response, signal);
        return {
          response,
          status,
          challengeLines: response.headerLines('www-authenticate'),
          answer,
          url,
          isForeign,
          isMoved: isMoved && hop > 0,
        };
      }
      response.body.discard();
      const next = nextHop(
        { from: url, location: response.header('location'), hop, method: call.method, hasBody: call.body !== undefined },
        this.#options,
      );
      isMoved &&= (status === 301 || status === 308) && next.pathname.startsWith('/v2/');
      url = next;
    }
  }

  #judge(leg: Leg, errand: Errand, used: Authorization | undefined): Judgement {
    const { authenticator, clock } = this.#options;
    return judgeAnswer(leg, { used, remembered: authenticator.remembered(errand), nowMs: clock.nowMs() });
  }

  #request(call: RegistryCall, url: URL, authorization: Authorization | undefined): RepeatableRequest {
    const header = authorization?.header();
    return {
      method: call.method,
      url,
      headers: { 'user-agent': this.#options.userAgent, ...call.headers, ...(header === undefined ? {} : { authorization: header }) },
      ...(call.body === undefined ? {} : { body: call.body }),
      ...(call.once === undefined ? {} : { once: call.once }),
      ...(call.unlimited === undefined ? {} : { unlimited: call.unlimited }),
      ...(call.responseHeaderTimeoutMs === undefined ? {} : { responseHeaderTimeoutMs: call.responseHeaderTimeoutMs }),
    };
  }
}

/** The host that credentials for a reference are looked up by. */
function hostOf(reference: ImageReference): string {
  const host = reference.host.toLowerCase();
  return isHubHost(host) ? HUB_API_HOST : host;
}

/** Adds to a query without writing anew what is there: it may be signed. */
function withQuery(url: URL, query: Readonly<Record<string, string>>): URL {
  const added = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  const result = new URL(url);
  result.search = [...(url.search === '' ? [] : [url.search.slice(1)]), ...added].join('&');
  return result;
}

function isRedirect(status: number): boolean {
  return [301, 302, 303, 307, 308].includes(status);
}

/** The error for an answer that is no success, and that no credential can change. */
export function statusError(status: number, { codes }: ErrorAnswer, from?: URL): RegistryError {
  const where = from === undefined ? '' : `${from.host} `;
  return new RegistryError(codeOf(status), [`${where}answered ${status}`, ...codes].join(' '), { status });
}

function codeOf(status: number): RegistryErrorCode {
  if (status === 401) return 'UNAUTHORIZED';
  if (status === 403) return 'DENIED';
  if (status === 404) return 'NOT_FOUND';
  if (status === 408) return 'TIMEOUT';
  if (status === 416) return 'RANGE_REFUSED';
  if (status === 429) return 'RATE_LIMITED';
  return status >= 500 ? 'UNAVAILABLE' : 'PROTOCOL';
}

/** Says of each credential where it came from and what became of it. */
function refusedError(status: number, { codes }: ErrorAnswer, rejections: readonly Rejection[]): RegistryError {
  const code = status === 403 ? 'DENIED' : 'UNAUTHORIZED';
  const what = [`answered ${status}`, ...codes].join(' ');
  const who = rejections.map(({ origin, why }) => (why === what ? origin : `${origin}: ${why}`)).join('; ');
  const cause = rejections.find((rejection) => rejection.cause !== undefined)?.cause;
  return new RegistryError(code, who === '' ? what : `${what}; ${who}`, { status, ...(cause === undefined ? {} : { cause }) });
}
