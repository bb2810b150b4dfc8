import { fingerprint, SingleFlight, type Credential, type CredentialSource, type SourceChange } from '@soci/keychain';
import type { ImageReference } from '@soci/image';
import type { Logger } from '@soci/log';
import { LRUCache } from 'lru-cache';
import { isLoopbackHost } from './addresses.ts';
import type { BearerChallenge, UsableChallenge } from './challenge.ts';
import type { Clock } from './clock.ts';
import { lookUpCredentials } from './credential-lookup.ts';
import { RegistryError } from './errors.ts';
import { Refusals } from './refusals.ts';
import type { RegistryHost } from './registry-host.ts';
import { cleanScopes } from './scopes.ts';
import { basicHeader, type TokenExchange } from './token-exchange.ts';

/** What is to be done at which registry. */
export interface Errand {
  /** What sources are asked for: lower case, with the port if it was written (`:443`, too). Of a mirror it may be the host that it stands for. */
  readonly host: string;
  /** Where the registry's interface begins, `https://registry.example.com/v2/`: what is learnt and kept belongs to it alone. */
  readonly registry: URL;
  /** The host as it is configured. */
  readonly via?: RegistryHost;
  readonly reference: ImageReference;
  /** Kubernetes namespaces it is done for, sorted; empty when unknown. */
  readonly namespaces: readonly string[];
  /** What the request needs: `repository:team/app:pull`. */
  readonly scopes: readonly string[];
}

/** Something to send in `Authorization`. */
export interface Authorization {
  readonly kind: 'basic' | 'bearer' | 'anonymous';
  /** The header line; undefined when nothing is to be sent. */
  header(): string | undefined;
  /** Of the credential it was made from. */
  readonly fingerprint: string;
  /** Where that credential came from, for messages. */
  readonly origin: string;
  /** How many changes the sources had told of when the credential was looked up. */
  readonly changes: number;
  readonly renewAtMs: number;
  readonly expiresAtMs: number;
}

/** A credential that was shown, or could not be, and why. */
export interface Rejection {
  readonly origin: string;
  readonly why: string;
  readonly cause?: RegistryError;
}

/** What one request has shown so far. */
export interface Tried {
  /** What it went with at first. */
  readonly used: Authorization | undefined;
  /** Fingerprint of a credential that is not to be shown again. */
  readonly excluded?: string;
  /** What could not be used is added. */
  readonly rejections: Rejection[];
  /** Fingerprints of all that the request has shown, at whichever host. */
  readonly logins: Set<string>;
  /** A login was refused: it is not to be tried without one. */
  isRefused?: boolean;
  /** See `Refusals.mark`. */
  shownAt?: number;
  /** How often a source dropped what it kept of a refused credential, so that another look-up may give something else. */
  staleAnswers?: number;
}

export interface AuthenticatorOptions {
  readonly credentials: CredentialSource;
  readonly exchange: TokenExchange;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Different credentials shown for one request: a hundred wrong logins lock an account. */
const MAX_LOGINS = 5;
/** Once more when a source says that it has something fresh. */
const MAX_LOOKUPS = 2;
const MAX_TOKENS = 4096;
const MAX_WITHDRAWN = 4096;
const MAX_HOSTS = 512;
const RENEW_AT_LIFE_SHARE = 0.8;
const RENEW_BEFORE_END_MS = 5_000;
/** A token server whose clock is behind gives tokens that are over when they come; they are used all the same, until refused. */
const MIN_LIFE_MS = 10_000;
/** What one token may be for; bounds what a registry's challenges pile up. */
const MAX_SCOPES = 16;

/**
 * Keeps what registries are shown. A source is asked only after a registry challenged, and again at every challenge; a token is kept for (host, service, scopes, credential)
 * until shortly before its end, and one exchange is in flight for each of these.
 */
export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #challenges = new LRUCache<string, UsableChallenge>({ max: MAX_HOSTS });
  readonly #scopes = new LRUCache<string, readonly string[]>({ max: MAX_TOKENS });
  readonly #current = new LRUCache<string, Authorization>({ max: MAX_TOKENS });
  readonly #tokens = new LRUCache<string, Authorization>({ max: MAX_TOKENS });
  readonly #flights = new SingleFlight<Authorization>();
  readonly #refusals: Refusals;
  readonly #renewing = new Set<Authorization>();
  readonly #lifetime = new AbortController();
  /** By fingerprint: which change took a credential away. */
  readonly #withdrawn = new LRUCache<string, number>({ max: MAX_WITHDRAWN });
  readonly #subscription: Disposable | undefined;
  #changes = 0;

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
    this.#refusals = new Refusals(options.clock.nowMs);
    this.#subscription = options.credentials.onChange?.((change) => this.#onChange(change));
  }

  /** The challenge this host sent last. */
  remembered(errand: Errand): UsableChallenge | undefined {
    return this.#challenges.get(errand.registry.href);
  }

  /** What worked for this errand before; undefined when nothing did, so that the registry is asked first. Near the end of its life it is renewed behind the caller's back, in the last seconds before he goes on. */
  async current(errand: Errand, signal: AbortSignal, logins = new Set<string>()): Promise<Authorization | undefined> {
    const known = this.#current.get(errandKey(errand));
    const nowMs = this.#options.clock.nowMs();
    if (known === undefined || nowMs < known.renewAtMs) return known;
    if (nowMs < known.expiresAtMs - RENEW_BEFORE_END_MS) {
      void this.#renew(errand, known, new Set(), this.#lifetime.signal); // it reports and never throws
      return known;
    }
    const fresh = await this.#renew(errand, known, logins, signal);
    signal.throwIfAborted();
    if (fresh !== undefined || nowMs < known.expiresAtMs) return fresh ?? known;
    this.drop(errand, known);
    return undefined;
  }

  async #renew(errand: Errand, known: Authorization, logins: Set<string>, signal: AbortSignal): Promise<Authorization | undefined> {
    const challenge = this.remembered(errand);
    if (challenge === undefined || this.#renewing.has(known)) return undefined;
    this.#renewing.add(known);
    try {
      for await (const fresh of this.attempts(errand, challenge, { used: known, rejections: [], logins }, signal))
        return this.accept(errand, fresh);
    } catch (error) {
      if (!signal.aborted) this.#options.log.debug({ host: errand.host, error }, 'token not renewed ahead of its end');
    } finally {
      this.#renewing.delete(known);
    }
    return undefined;
  }

  /**
   * Looks credentials up and makes of each, one at a time and best first, something to send. The caller tries it and says `accept` or `refuse`.
   *
   * @param tried what this request has used so far, which is not given again; what cannot be used is added to its `rejections`
   * @throws {RegistryError} `CREDENTIALS_NOT_READY`, `CREDENTIALS_FAILED`, and what the token exchange throws save a refusal
   */
  async *attempts(
    errand: Errand,
    challenge: UsableChallenge,
    tried: Tried,
    signal: AbortSignal,
  ): AsyncGenerator<Authorization, void, undefined> {
    this.#remember(errand, challenge);
    const seen = new Set<string>(tried.excluded === undefined ? [] : [tried.excluded]);
    const { logins } = tried;
    if (tried.used !== undefined && tried.used.kind !== 'anonymous') logins.add(tried.used.fingerprint);
    for (let lookup = 0; lookup < MAX_LOOKUPS; lookup++) {
      const staleBefore = tried.staleAnswers;
      const changes = this.#changes; // before the look-up, whose answer a change meanwhile makes doubtful
      for (const { credential, origin } of await lookUpCredentials(this.#options.credentials, errand, signal)) {
        const print = fingerprint(credential);
        if (seen.has(print)) continue;
        if (this.#isWithdrawn({ fingerprint: print, changes })) {
          tried.staleAnswers = (tried.staleAnswers ?? 0) + 1; // while another one was tried: its secret may have been overwritten
          continue;
        }
        seen.add(print);
        if (credential.kind === 'anonymous' && tried.isRefused === true) {
          tried.rejections.push({ origin, why: 'not tried without a credential after one was refused' });
          continue;
        }
        const problem = this.#problemOf(errand, challenge, credential, print);
        if (problem !== undefined) {
          tried.rejections.push({ origin, why: problem });
          continue;
        }
        if (credential.kind !== 'anonymous' && !logins.has(print) && logins.size >= MAX_LOGINS) return;
        if (credential.kind !== 'anonymous') logins.add(print);
        tried.shownAt = this.#refusals.mark;
        try {
          yield await this.#authorize(errand, challenge, { credential, print, origin, changes, used: tried.used }, signal);
        } catch (error) {
          if (!(error instanceof RegistryError) || error.code !== 'UNAUTHORIZED') throw error;
          this.#countRefusal(errand, print, tried);
          tried.rejections.push({ origin, why: error.message, cause: error });
        }
      }
      if (tried.staleAnswers === staleBefore) return;
    }
  }

  /** It worked: used from now on, unless its source has given the credential up meanwhile. */
  accept(errand: Errand, authorization: Authorization): Authorization {
    this.#refusals.clear(refusalKey(errand, authorization.fingerprint));
    if (!this.#isWithdrawn(authorization)) this.#current.set(errandKey(errand), authorization);
    return authorization;
  }

  /** The registry did not take it: it is not used again, and its source is told. */
  refuse(errand: Errand, authorization: Authorization, tried: Tried): void {
    if (authorization.kind !== 'anonymous') this.#countRefusal(errand, authorization.fingerprint, tried);
    this.drop(errand, authorization);
  }

  /** What worked before is refused now: a token may have run out, but a password is as good as refused, and its source may have a newer one. */
  outdate(errand: Errand, used: Authorization): void {
    if (used.kind === 'basic') this.#options.credentials.refused?.(used.fingerprint);
    this.drop(errand, used);
  }

  /** Forgets a token, and no newer one that somebody else has put in its place. */
  drop(errand: Errand, authorization: Authorization): void {
    const key = errandKey(errand);
    if (this.#current.get(key) === authorization) this.#current.delete(key);
    for (const [tokenKey, token] of this.#tokens.entries()) if (token === authorization) this.#tokens.delete(tokenKey);
  }

  [Symbol.dispose](): void {
    this.#subscription?.[Symbol.dispose]();
    this.#lifetime.abort();
  }

  #countRefusal(errand: Errand, print: string, tried: Tried): void {
    this.#refusals.add(refusalKey(errand, print), errand.host, tried.shownAt ?? this.#refusals.mark);
    tried.isRefused = true;
    if (this.#options.credentials.refused?.(print) === true) tried.staleAnswers = (tried.staleAnswers ?? 0) + 1;
  }

  /** Drops what was made from credentials that are gone, and nothing else; whatever was refused may be shown again. */
  #onChange({ hosts, withdrawn }: SourceChange): void {
    this.#changes++;
    this.#refusals.clearFor(hosts);
    for (const print of withdrawn) this.#withdrawn.set(print, this.#changes);
    for (const kept of [this.#current, this.#tokens])
      for (const [key, authorization] of kept.entries()) if (this.#isWithdrawn(authorization)) kept.delete(key);
  }

  #isWithdrawn({ fingerprint: print, changes }: Pick<Authorization, 'fingerprint' | 'changes'>): boolean {
    return (this.#withdrawn.get(print) ?? 0) > changes;
  }

  /** A registry that sends to another token server than before may do so rightly; whoever reads the log can tell. */
  #remember({ host, registry }: Errand, challenge: UsableChallenge): void {
    const before = this.#challenges.get(registry.href);
    if (before?.scheme === 'bearer' && challenge.scheme === 'bearer' && before.realm.host !== challenge.realm.host) {
      this.#options.log.warn(
        { host, realm: challenge.realm.host, before: before.realm.host },
        'registry names another token server than before',
      );
    }
    this.#challenges.set(registry.href, challenge);
  }

  #problemOf(errand: Errand, { scheme }: UsableChallenge, credential: Credential, print: string): string | undefined {
    if (credential.kind === 'basic' && credential.username.includes(':')) return 'a user name with a colon cannot be sent';
    if (scheme === 'basic' && credential.kind === 'anonymous') return 'the registry wants a user name and password';
    if (scheme === 'basic' && credential.kind !== 'basic')
      return `the registry wants a user name and password, there is only an ${credential.kind.replace('_', ' ')}`;
    if (credential.kind === 'identity_token' && isClearText(errand.registry))
      return 'an identity token is not used for a registry that is spoken to in clear text';
    const waitMs = this.#refusals.waitMs(refusalKey(errand, print));
    return waitMs > 0 ? `refused before, not shown again for ${Math.ceil(waitMs / 1000)} s` : undefined;
  }

  async #authorize(
    errand: Errand,
    challenge: UsableChallenge,
    login: {
      readonly credential: Credential;
      readonly print: string;
      readonly origin: string;
      readonly changes: number;
      readonly used: Authorization | undefined;
    },
    signal: AbortSignal,
  ): Promise<Authorization> {
    const { credential, print, origin, changes } = login;
    if (challenge.scheme === 'basic') {
      return {
        kind: 'basic',
        fingerprint: print,
        origin,
        changes,
        renewAtMs: Infinity,
        expiresAtMs: Infinity,
        header: () => basicHeader(credential),
      };
    }
    const scopes = this.#scopesFor(errand, challenge);
    const key = [errand.registry.href, challenge.realm.href, challenge.params.get('service') ?? '', scopes.join(' '), print].join('\n');
    const known = this.#tokens.get(key);
    if (known !== undefined && known !== login.used && this.#options.clock.nowMs() < known.renewAtMs) return known;
    return this.#flights.run(key, signal, async (shared) => {
      const { registry, via } = errand;
      const wish = { challenge, scopes, credential, registry, ...(via === undefined ? {} : { via }) };
      const token = await this.#options.exchange.fetch(wish, shared);
      const nowMs = this.#options.clock.nowMs();
      const lifeMs = Math.max(token.lifeMs, MIN_LIFE_MS);
      const expiresAtMs = nowMs + lifeMs;
      const renewAtMs = Math.min(nowMs + lifeMs * RENEW_AT_LIFE_SHARE, expiresAtMs - RENEW_BEFORE_END_MS);
      const header = (): string => `Bearer ${token.value.reveal()}`;
      const authorization: Authorization = {
        kind: credential.kind === 'anonymous' ? 'anonymous' : 'bearer',
        fingerprint: print,
        origin,
        changes,
        renewAtMs,
        expiresAtMs,
        header,
      };
      if (!this.#isWithdrawn(authorization)) this.#tokens.set(key, authorization);
      return authorization;
    });
  }

  /** The challenge's scopes, what the request needs, and what was granted for this repository before, so that a second challenge does not lose the first right. */
  #scopesFor(errand: Errand, challenge: BearerChallenge): readonly string[] {
    const key = `${errand.registry.href}${errand.reference.repository}`;
    const asked = (challenge.params.get('scope') ?? '').split(' ');
    const all = cleanScopes([...asked, ...errand.scopes, ...(this.#scopes.get(key) ?? [])]);
    const scopes = all.length > MAX_SCOPES ? cleanScopes([...asked, ...errand.scopes]).slice(0, MAX_SCOPES) : all;
    this.#scopes.set(key, scopes);
    return scopes;
  }
}

function isClearText({ protocol, hostname }: URL): boolean {
  return protocol !== 'https:' && !isLoopbackHost(hostname);
}

function errandKey({ host, registry, reference, namespaces, scopes }: Errand): string {
  return [registry.href, host, reference.repository, JSON.stringify(namespaces), ...scopes].join('\n');
}

function refusalKey({ registry, reference }: Errand, print: string): string {
  return [registry.href, reference.repository, print].join('\n');
}
