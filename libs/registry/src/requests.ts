import { hasCode } from '@soci/errors';
import type { ImageReference } from '@soci/image';
import { RegistryError } from './errors.ts';
import type { HostReply, HostRequests, Progress } from './host-requests.ts';
import type { HostRoutes } from './host-routes.ts';
import type { Capability, RegistryHost } from './registry-host.ts';
import type { RepeatableRequest } from './retry.ts';
import { statusError } from './status-error.ts';
import type { HttpResponse } from './transport.ts';

/** One request of the distribution specification. */
export interface RegistryCall {
  readonly method: RepeatableRequest['method'];
  readonly reference: ImageReference;
  /** What a host must be allowed to do to get the request. */
  readonly needs: readonly Capability[];
  /** The host that has to get it, where it belongs to something that was begun there. */
  readonly via?: RegistryHost;
  /** Digest of what is asked for: a host that has it is stayed with. */
  readonly content?: string;
  /** Behind `/v2/`: `team/app/manifests/1.0`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** In place of `path`: an address that `via` gave, such as that of an upload. */
  readonly url?: URL;
  readonly scopes: readonly string[];
  /** What the request is about, for messages: `manifest team/app:1.0`. */
  readonly subject: string;
  /** Statuses that are an answer; any other is thrown. Of these an error status counts only when it comes from the last host that can be asked. */
  readonly expect: readonly number[];
  /** Whether an answer is of use. One that is not counts only when it comes from the last host that can be asked. */
  readonly isUsable?: (response: HttpResponse) => boolean;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: () => Uint8Array | AsyncIterable<Uint8Array>;
  /** See `RepeatableRequest`. */
  readonly once?: boolean;
  readonly unlimited?: boolean;
  readonly responseHeaderTimeoutMs?: number;
  /** A redirect is an answer, too, and not followed. */
  readonly isRedirectAnswer?: boolean;
}

export interface Reply extends HostReply {
  /** The host as it is configured, however it was spoken to. */
  readonly route: RegistryHost;
  /** Whether another host could be asked instead. */
  readonly hasNext: boolean;
}

export interface RequestsOptions {
  readonly hosts: HostRequests;
  readonly routes: HostRoutes;
  /** Kubernetes namespaces that requests are made for. */
  readonly namespaces?: readonly string[];
}

interface Failure {
  readonly via: RegistryHost;
  readonly error: RegistryError;
}

/** How TLS fails with a server that does not speak it. */
const NO_TLS_CODES = [
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_HTTP_REQUEST',
  'ERR_SSL_UNEXPECTED_MESSAGE',
];

/** Sends requests to the hosts of a registry, one after the other until one has an answer. */
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

  /**
   * Whatever goes wrong at a host, the next is asked. Hosts before the last get one attempt each; what the last one says is final.
   *
   * @returns an answer with one of the expected statuses; its body is the caller's to read or discard
   * @throws {RegistryError} the message names method, subject and host; `CREDENTIALS_NOT_READY` when that is what any host failed for
   */
  async perform(call: RegistryCall, signal: AbortSignal): Promise<Reply> {
    const { routes } = this.#options;
    const content = contentKey(call);
    const hosts = call.via === undefined ? await routes.hostsFor(call.reference, call.needs, content, signal) : [call.via];
    const failures: Failure[] = [];
    const progress: Progress = { logins: new Set(), answers: 0 };
    for (const [at, via] of hosts.entries()) {
      const isLast = at === hosts.length - 1;
      try {
        const reply = isLast ? await this.#at(via, call, progress, signal) : await this.#tryAt(via, call, progress, signal);
        routes.worked(via, content, at === 0);
        return { ...reply, route: via, hasNext: !isLast };
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof RegistryError)) throw error;
        failures.push({ via, error });
        if (!isLast) routes.failed(via, error);
      }
    }
    throw failureOfAll(call, failures);
  }

  /** The connection broke in the middle of an answer: the rest is better asked of another host, if there is one. */
  brokeOff({ route, hasNext }: Reply, call: RegistryCall, error: unknown): void {
    if (hasNext) this.#options.routes.failed(route, error, contentKey(call));
  }

  /** One attempt, and only an answer that is a success counts. */
  async #tryAt(via: RegistryHost, call: RegistryCall, progress: Progress, signal: AbortSignal): Promise<HostReply> {
    const reply = await this.#at(via, { ...call, once: true, expect: call.expect.filter((status) => status < 400) }, progress, signal);
    if (call.isUsable?.(reply.response) ?? true) return reply;
    reply.response.body.discard();
    throw new RegistryError('PROTOCOL', `the answer (${reply.response.status}) is of no use`, { status: reply.response.status });
  }

  async #at(via: RegistryHost, call: RegistryCall, progress: Progress, signal: AbortSignal): Promise<HostReply> {
    const { hosts, routes } = this.#options;
    const spoken = routes.spokenTo(via);
    const answersBefore = progress.answers;
    try {
      return await hosts.perform(call, spoken, this.namespaces, signal, progress);
    } catch (error) {
      if (spoken.plain === undefined || progress.answers > answersBefore || !isNoTls(error, spoken)) throw error; // it may be a token server that fails
      routes.speaksNoTls(via);
      return await hosts.perform(call, spoken.plain, this.namespaces, signal, progress);
    }
  }
}

function contentKey({ reference, content }: RegistryCall): string | undefined {
  return content === undefined ? undefined : `${reference.host}/${reference.repository}@${content}`;
}

/** Without a port in its address nobody may listen where TLS is expected. */
function isNoTls(error: unknown, { base }: RegistryHost): boolean {
  if (!(error instanceof RegistryError)) return false;
  return hasCode(error.cause, ...NO_TLS_CODES) || (base.port === '' && (error.code === 'TIMEOUT' || hasCode(error.cause, 'ECONNREFUSED')));
}

function failureOfAll(call: RegistryCall, failures: readonly Failure[]): RegistryError {
  const last = failures.at(-1);
  const decisive = failures.find(({ error }) => error.code === 'CREDENTIALS_NOT_READY') ?? last;
  if (decisive === undefined) return statusError(404, { codes: [] });
  const others = failures.filter((failure) => failure !== decisive).map(({ via, error }) => `; ${via.name}: ${error.message}`);
  const { error, via } = decisive;
  return new RegistryError(error.code, `${call.method} ${call.subject} at ${via.name}: ${error.message}${others.join('')}`, {
    cause: error.cause,
    ...(error.status === undefined ? {} : { status: error.status }),
  });
}
