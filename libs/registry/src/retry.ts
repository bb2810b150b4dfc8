import { hasCode } from '@soci/errors';
import type { Logger } from '@soci/log';
import type { Clock } from './clock.ts';
import type { HttpOptions } from './http-options.ts';
import type { HttpRequest, HttpResponse, Transport } from './transport.ts';

/** A request that can be sent again: its body can be had anew. */
export interface RepeatableRequest extends Omit<HttpRequest, 'body'> {
  readonly body?: () => Uint8Array | AsyncIterable<Uint8Array>;
  /** Sent once only: what a failed attempt left behind at the registry is not known. */
  readonly once?: boolean;
}

const TRUST_CODES = /^(?:CERT_|ERR_TLS_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_)/;

/** Repeats what may be repeated: connection trouble, 408, 429 and 5xx save 501, with back-off and jitter, as long as `Retry-After` says but never longer than `maxWaitMs`. */
export class RetryingSender {
  readonly #transport: Transport;
  readonly #http: HttpOptions;
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor({
    transport,
    http,
    clock,
    log,
  }: { readonly transport: Transport; readonly http: HttpOptions; readonly clock: Clock; readonly log: Logger }) {
    this.#transport = transport;
    this.#http = http;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * @returns the answer, whatever its status; after the last attempt also one that would have been worth a repeat
   * @throws {RegistryError} `UNREACHABLE`, `TIMEOUT` after the last attempt; the signal's reason
   */
  async send(request: RepeatableRequest, signal: AbortSignal): Promise<HttpResponse> {
    const { body, once, ...given } = request;
    const rest = { requestTimeoutMs: this.#http.requestTimeoutMs, ...given };
    const repeats = once === true ? 0 : this.#http.maxRetries;
    for (let attempt = 0; ; attempt++) {
      try {
        const response = await this.#transport.send(body === undefined ? rest : { ...rest, body: body() }, signal);
        if (attempt >= repeats || !isWorthRepeating(response.status)) return response;
        response.body.discard();
        await this.pause(
          attempt,
          { host: request.url.host, status: response.status },
          signal,
          retryAfterMs(response, this.#clock.wallMs()),
        );
      } catch (error) {
        if (signal.aborted || attempt >= repeats || isHopeless(error)) throw error;
        await this.pause(attempt, { host: request.url.host, error }, signal);
      }
    }
  }

  /** Waits before attempt `attempt + 2`, and says so. */
  async pause(attempt: number, what: Readonly<Record<string, unknown>>, signal: AbortSignal, atLeastMs = 0): Promise<void> {
    const { minWaitMs, maxWaitMs } = this.#http;
    const fullMs = Math.min(maxWaitMs, minWaitMs * 2 ** attempt);
    const delayMs = Math.min(maxWaitMs, Math.max(atLeastMs, Math.round(fullMs * (0.5 + Math.random() / 2))));
    this.#log.warn({ ...what, attempt: attempt + 1, delayMs }, 'registry request failed, will retry');
    await this.#clock.sleep(delayMs, signal);
  }

  get maxRetries(): number {
    return this.#http.maxRetries;
  }

  /** What a body has to have brought before it broke off for its repeats to be counted anew: by a byte at a time nothing gets done. At least 1. */
  get progressBytes(): number {
    return Math.max(1, this.#http.progressBytes);
  }
}

function isWorthRepeating(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501);
}

/** A name that does not exist and a certificate that is not trusted will be the same in a second. */
function isHopeless(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return (
    !hasCode(error, 'UNREACHABLE', 'TIMEOUT') ||
    hasCode(cause, 'ENOTFOUND', 'UND_ERR_HEADERS_OVERFLOW', 'ERR_SSL_WRONG_VERSION_NUMBER') || // the last: plain HTTP behind the port
    (cause instanceof Error && 'code' in cause && TRUST_CODES.test(String(cause.code)))
  );
}

/** `Retry-After` in seconds or as a date. */
function retryAfterMs(response: HttpResponse, wallMs: number): number {
  const value = response.header('retry-after')?.trim() ?? '';
  if (/^[0-9]{1,9}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? 0 : Math.max(0, date - wallMs);
}
