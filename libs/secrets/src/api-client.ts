import { getCACertificates } from 'node:tls';
import type { Logger } from '@soci/log';
import { plainWords } from '@soci/keychain';
import { Agent, ProxyAgent, Socks5ProxyAgent, type Dispatcher } from 'undici';
import { z } from 'zod';
import type { ApiLogin, Presented } from './api-login.ts';
import { readPem, type ApiTarget } from './api-target.ts';
import { SecretsError } from './errors.ts';

export interface ApiClientOptions {
  readonly target: ApiTarget;
  readonly login: ApiLogin;
  readonly userAgent: string;
  /** Proxy for a URL where the kubeconfig names none. */
  readonly proxyFor?: (url: URL) => string | undefined;
  readonly log: Logger;
}

export interface ApiRequest {
  /** Below the server's address, with its query. */
  readonly path: string;
  /** Until the head of the answer. */
  readonly answerTimeoutMs: number;
  /** Longest pause inside the body. */
  readonly idleTimeoutMs: number;
}

interface Connections {
  readonly material: readonly (Buffer | undefined)[];
  readonly dispatcher: Dispatcher;
  readonly sinceMs: number;
}

/** Short, so that a server that comes back behind a silent address is found within seconds. */
const CONNECT_TIMEOUT_MS = 4_000;
const KEEP_ALIVE_DELAY_MS = 30_000;
/** Many requests fail together when a server goes away: one renewal is for all of them. */
const RENEW_AFTER_MS = 1_000;
const MAX_STATUS_BYTES = 64 * 1024;
const MAX_RETRY_AFTER_MS = 30_000;

const statusDocument = z.object({ code: z.int().optional(), reason: z.string().optional(), message: z.string().optional() });

/**
 * GET requests to one API server. undici, since the library that reads kubeconfigs has it in memory anyway, and it has limits for connecting, for the head and for silence inside a body.
 * Connections are made anew when a certificate or authority has changed; requests under way keep theirs.
 */
export class ApiClient implements AsyncDisposable {
  readonly #options: ApiClientOptions;
  #connections: Connections | undefined;

  constructor(options: ApiClientOptions) {
    this.#options = options;
  }

  /**
   * @returns the body of a 200; to be read to its end, or destroyed
   * @throws {SecretsError} `LOGIN_FAILED`, `UNREACHABLE`, and by status `UNAUTHORIZED`, `DENIED`, `GONE`, `BUSY`, `API_FAILED`
   */
  async get({ path, answerTimeoutMs, idleTimeoutMs }: ApiRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData['body']> {
    const { target, login, userAgent } = this.#options;
    const presented = await login.present(signal);
    const dispatcher = await this.#dispatcherFor(presented, signal);
    const url = new URL(target.server.url + path);
    const headers: Record<string, string | string[]> = { accept: 'application/json', 'user-agent': userAgent };
    for (const [name, value] of Object.entries(target.user.impersonation)) headers[name] = typeof value === 'string' ? value : [...value];
    if (presented.authorization !== undefined) headers.authorization = presented.authorization.reveal();
    let answer: Dispatcher.ResponseData;
    try {
      answer = await dispatcher.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: 'GET',
        headers,
        headersTimeout: answerTimeoutMs,
        bodyTimeout: idleTimeoutMs,
        signal,
      });
    } catch (cause) {
      signal.throwIfAborted();
      throw new SecretsError('UNREACHABLE', `${target.server.url}: no answer`, { cause });
    }
    if (answer.statusCode === 200) return answer.body;
    if (answer.statusCode === 401) login.forget();
    throw await refusal(target.server.url, answer);
  }

  /** Something went wrong with a connection: others that are idle may be as dead, so the next request makes one of its own. */
  distrust(): void {
    const held = this.#connections;
    if (held === undefined || performance.now() - held.sinceMs < RENEW_AFTER_MS) return;
    this.#connections = undefined;
    this.#closeWhenIdle(held.dispatcher);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections?.dispatcher.destroy();
    this.#connections = undefined;
  }

  async #dispatcherFor({ certificate, key }: Presented, signal: AbortSignal): Promise<Dispatcher> {
    const authority = await readPem(this.#options.target.server.authority, signal);
    const material = [authority, certificate, key];
    const held = this.#connections;
    if (held !== undefined && held.material.every((bytes, i) => isSame(bytes, material[i]))) return held.dispatcher;
    const dispatcher = this.#connect(authority, certificate, key);
    this.#connections = { material, dispatcher, sinceMs: performance.now() };
    if (held !== undefined) this.#closeWhenIdle(held.dispatcher);
    return dispatcher;
  }

  /** Requests under way go on, at most for as long as a watch lasts. */
  #closeWhenIdle(dispatcher: Dispatcher): void {
    dispatcher.close().catch((error: unknown) => this.#options.log.debug({ error }, 'closing connections failed'));
  }

  #connect(authority: Buffer | undefined, certificate: Buffer | undefined, key: Buffer | undefined): Dispatcher {
    const { server } = this.#options.target;
    const tls = {
      ca: authority ?? [...new Set([...getCACertificates('default'), ...getCACertificates('system')])],
      ...(certificate === undefined ? {} : { cert: certificate }),
      ...(key === undefined ? {} : { key }),
      ...(server.serverName === undefined ? {} : { servername: server.serverName }),
      rejectUnauthorized: !server.isInsecure,
    };
    const connect = { timeout: CONNECT_TIMEOUT_MS, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS };
    const proxy = server.proxyUrl ?? this.#options.proxyFor?.(new URL(server.url));
    if (proxy === undefined) return new Agent({ connect: { ...connect, ...tls } });
    if (/^socks5h?:/.test(proxy)) return new Socks5ProxyAgent(proxy.replace(/^socks5h:/, 'socks5:'), { requestTls: tls });
    return new ProxyAgent({ uri: proxy, requestTls: tls, connect });
  }
}

async function refusal(server: string, { statusCode, headers, body }: Dispatcher.ResponseData): Promise<SecretsError> {
  const text = await readBounded(body, MAX_STATUS_BYTES).catch(() => undefined); // its status says enough where its words do not come
  return statusError(server, statusCode, text === undefined ? undefined : safeJson(text), Number(headers['retry-after']));
}

/** What a Status of the API server means. @param document as the server sent it, in an answer or in a watch */
export function statusError(server: string, code: number, document: unknown, retryAfterSec = Number.NaN): SecretsError {
  const status = statusDocument.safeParse(document).data;
  const effective = status?.code ?? code;
  const words = plainWords(status?.message ?? '');
  const message = [`${server}: status ${effective}`, ...(words === '' ? [] : [words])].join(': ');
  const retryAfterMs = Math.min(retryAfterSec * 1_000, MAX_RETRY_AFTER_MS);
  return new SecretsError(codeOf(effective), message, retryAfterMs > 0 ? { retryAfterMs } : {});
}

function codeOf(status: number): 'UNAUTHORIZED' | 'DENIED' | 'GONE' | 'BUSY' | 'API_FAILED' {
  if (status === 401) return 'UNAUTHORIZED';
  if (status === 403) return 'DENIED';
  if (status === 410) return 'GONE';
  return status === 429 ? 'BUSY' : 'API_FAILED';
}

/**
 * Reads a body to its end.
 * @throws {SecretsError} `ANSWER_TOO_LARGE`; the connection is given up then
 */
export async function readBounded(body: Dispatcher.ResponseData['body'], maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBytes) {
      body.destroy();
      throw new SecretsError('ANSWER_TOO_LARGE', `an answer of more than ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length).toString('utf8');
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isSame(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}
