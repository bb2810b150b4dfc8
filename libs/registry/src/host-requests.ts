import type { Authenticator, Authorization, Errand, Tried } from './authenticator.ts';
import type { Clock } from './clock.ts';
import { RegistryError } from './errors.ts';
import { judgeAnswer, type Answered, type Judgement } from './judge.ts';
import { nextHop } from './redirects.ts';
import { readErrorAnswer } from './registry-answer.ts';
import type { RegistryHost } from './registry-host.ts';
import type { RegistryCall } from './requests.ts';
import type { RepeatableRequest, RetryingSender } from './retry.ts';
import { refusedError, statusError } from './status-error.ts';
import type { HttpResponse } from './transport.ts';

export interface HostRequestsOptions {
  readonly sender: RetryingSender;
  readonly authenticator: Authenticator;
  readonly clock: Clock;
  readonly userAgent: string;
  readonly isPlainHttp: (host: string) => boolean;
}

/** An answer, the address it came from, after redirects, and the host that was asked. */
export interface HostReply {
  readonly response: HttpResponse;
  readonly url: URL;
  readonly via: RegistryHost;
}

/** What has become of a request, at one host after the other. */
export interface Progress {
  /** Fingerprints of what it has shown. */
  readonly logins: Set<string>;
  /** How many answers of hosts there were, whatever they said. */
  answers: number;
}

interface HostErrand extends Errand {
  readonly via: RegistryHost;
  readonly progress: Progress;
}

interface Leg extends Answered {
  readonly response: HttpResponse;
}

const MAX_MOVES = 1;

/** Sends requests to one host: with what it wants to see, through redirects, and twice where the first answer says so. */
export class HostRequests {
  readonly #options: HostRequestsOptions;

  constructor(options: HostRequestsOptions) {
    this.#options = options;
  }

  /**
   * @returns an answer with one of the expected statuses, or a redirect where that is an answer
   * @throws {RegistryError} the message does not name what was asked for, nor of whom
   */
  async perform(
    call: RegistryCall,
    via: RegistryHost,
    namespaces: readonly string[],
    signal: AbortSignal,
    progress: Progress,
  ): Promise<HostReply> {
    const { reference, scopes } = call;
    const errand: HostErrand = { via, progress, host: via.credentialHost, registry: via.base, reference, namespaces, scopes };
    for (let round = 0; ; round++) {
      const leg = await this.#authorized(call, errand, 0, signal);
      if (leg.answer === undefined) return { response: leg.response, url: leg.url, via };
      const isAddressExpired = leg.answer.isAddressExpired || (leg.isForeign && (leg.status === 401 || leg.status === 403));
      if (!isAddressExpired || round > 0) throw statusError(leg.status, leg.answer, leg.isForeign ? leg.url : undefined);
    }
  }

  /** Sends the request with what is known, and once more for each credential when the registry refuses. */
  async #authorized(call: RegistryCall, errand: HostErrand, moves: number, signal: AbortSignal): Promise<Leg> {
    const { authenticator } = this.#options;
    const used = await authenticator.current(errand, signal, errand.progress.logins);
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
    const tried: Tried = { used, ...excluded, rejections: [], logins: errand.progress.logins };
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
  async #follow(call: RegistryCall, errand: HostErrand, authorization: Authorization | undefined, signal: AbortSignal): Promise<Leg> {
    const { via } = errand;
    const start = call.url ?? via.urlOf(call.path);
    let url = withQuery(start, { ...call.query, ...via.queryFor(start) });
    let isMoved = true;
    for (let hop = 0; ; hop++) {
      const isForeign = url.origin !== errand.registry.origin;
      const response = await this.#options.sender.send(this.#request(call, via, url, isForeign ? undefined : authorization), signal);
      errand.progress.answers++;
      const { status } = response;
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

  #judge(leg: Leg, errand: HostErrand, used: Authorization | undefined): Judgement {
    const { authenticator, clock } = this.#options;
    return judgeAnswer(leg, { used, remembered: authenticator.remembered(errand), nowMs: clock.nowMs() });
  }

  #request(call: RegistryCall, via: RegistryHost, url: URL, authorization: Authorization | undefined): RepeatableRequest {
    const header = authorization?.header();
    const connection = via.connectionFor(url);
    return {
      method: call.method,
      url,
      headers: {
        'user-agent': this.#options.userAgent,
        ...via.headersFor(url),
        ...call.headers,
        ...(header === undefined ? {} : { authorization: header }),
      },
      ...(connection === undefined ? {} : { connection }),
      ...(call.body === undefined ? {} : { body: call.body }),
      ...(call.once === undefined ? {} : { once: call.once }),
      ...(call.unlimited === true || via.requestTimeoutMs === 0 ? { unlimited: true } : {}),
      ...(via.requestTimeoutMs === undefined ? {} : { requestTimeoutMs: via.requestTimeoutMs }),
      ...(call.responseHeaderTimeoutMs === undefined ? {} : { responseHeaderTimeoutMs: call.responseHeaderTimeoutMs }),
    };
  }
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
