import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import type { AskOptions, Grant } from './kube-api.ts';
import { askKube, bodyOf, type KubeAnswer } from './kube-client.ts';
import { isSelected, KubeStandInStore, type Selection, type StoredSecret } from './kube-stand-in-store.ts';
import { freePort } from './ports.ts';

const run = promisify(execFile);

export interface KubeStandInOptions {
  /** Certificate and kubeconfigs go below. */
  readonly directory: string;
  /** Names that get a token and a kubeconfig, and no right until `grant`. Beside them there is `admin`. */
  readonly users?: readonly string[];
  /** Between two bookmarks of a watch. */
  readonly bookmarkEveryMs?: number;
}

interface SecretBody {
  readonly metadata?: { readonly name?: string };
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>>;
}

/** One request, its user known. */
interface Call {
  readonly user: string;
  readonly method: string;
  readonly url: URL;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** The rest of a list of which a page was given. */
interface Remainder {
  readonly version: number;
  readonly secrets: readonly StoredSecret[];
}

const ADMIN = 'admin';
const DEFAULT_BOOKMARK_MS = 60_000;
/** An API server sends a last bookmark this long before a watch ends. */
const LAST_BOOKMARK_MS = 2_000;
const MAX_REMAINDERS = 64;
const MEMBERS: Readonly<Record<string, string>> = {
  'kubernetes.io/dockerconfigjson': '.dockerconfigjson',
  'kubernetes.io/dockercfg': '.dockercfg',
};

/**
 * An API server for secrets alone, for where a real one cannot be had; used as `KubeApi` is. It speaks the protocol over a real TLS socket: bearer tokens and rights by user,
 * lists in pages that stay at one version, selectors, watches with bookmarks and an end, versions that are too old or begin again.
 */
export class KubeStandIn implements AsyncDisposable {
  readonly url: string;
  readonly #directory: string;
  readonly #bookmarkEveryMs: number;
  readonly #tokens: ReadonlyMap<string, string>;
  readonly #store = new KubeStandInStore();
  readonly #grants = new Map<string, Grant>();
  readonly #namespaces = new Set(['default']);
  readonly #remainders = new Map<string, Remainder>();
  #server: Server | undefined;

  private constructor(port: number, tokens: ReadonlyMap<string, string>, { directory, bookmarkEveryMs }: KubeStandInOptions) {
    this.url = `https://127.0.0.1:${port}`;
    this.#tokens = tokens;
    this.#directory = directory;
    this.#bookmarkEveryMs = bookmarkEveryMs ?? DEFAULT_BOOKMARK_MS;
  }

  static async start(options: KubeStandInOptions): Promise<KubeStandIn> {
    const { directory, users = ['soci-secrets', 'other'] } = options;
    const tokens = new Map([ADMIN, ...users].map((name) => [name, randomBytes(16).toString('hex')]));
    const api = new KubeStandIn(await freePort(), tokens, options);
    const subject = ['-subj', '/CN=kube-stand-in', '-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=CA:TRUE'];
    const files = ['-keyout', join(directory, 'server.key'), '-out', api.#caPath];
    await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', ...files, ...subject]);
    for (const [name, token] of tokens) await api.#writeKubeconfig(api.kubeconfig(name), token);
    await api.startAgain();
    return api;
  }

  /** Path of the kubeconfig of one of the users. */
  kubeconfig(user: string): string {
    return join(this.#directory, `${user}.kubeconfig`);
  }

  token(user: string): string {
    const token = this.#tokens.get(user);
    if (token === undefined) throw new Error(`the API server was started without a user ${user}`);
    return token;
  }

  /** Gives a user exactly this in one namespace, or in all; what was granted there before goes. */
  grant(user: string, grant: Grant): Promise<void> {
    this.#grants.set(`${user} ${grant.namespace ?? '*'}`, grant);
    return Promise.resolve();
  }

  revoke(user: string, namespace?: string): Promise<void> {
    this.#grants.delete(`${user} ${namespace ?? '*'}`);
    return Promise.resolve();
  }

  request<T>(method: string, path: string, body?: unknown, { user = ADMIN, contentType }: AskOptions = {}): Promise<KubeAnswer<T>> {
    const token = this.token(user);
    const type = contentType === undefined ? {} : { contentType };
    return askKube<T>({ url: this.url, caPath: this.#caPath, token, method, path, body, ...type });
  }

  /** A request of the administrator. @throws where it is not granted */
  async expect<T>(method: string, path: string, body?: unknown): Promise<T> {
    return bodyOf(await this.request<T>(method, path, body), `${method} ${path}`);
  }

  async createNamespace(name: string): Promise<void> {
    await this.expect('POST', '/api/v1/namespaces', { metadata: { name } });
  }

  /** Makes or replaces a pull secret. @param logins registry key to `username:password` */
  async putPullSecret(namespace: string, name: string, logins: Readonly<Record<string, string>>): Promise<void> {
    const auths = Object.fromEntries(
      Object.entries(logins).map(([host, login]) => [host, { auth: Buffer.from(login).toString('base64') }]),
    );
    const type = 'kubernetes.io/dockerconfigjson';
    const data = { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths })).toString('base64') };
    const list = `/api/v1/namespaces/${namespace}/secrets`;
    const { status } = await this.request('PUT', `${list}/${name}`, { metadata: { name }, type, data });
    if (status === 404) await this.expect('POST', list, { metadata: { name }, type, data });
    else if (status >= 300) throw new Error(`PUT ${list}/${name}: ${status}`);
  }

  /** Versions given until now are too old for a watch, save the last one; those that are open go on. */
  compact(): void {
    this.#store.compact();
    this.#remainders.clear();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  }

  /** Starts at the same port with what there is; as a real one it does not know what changed before. */
  async startAgain(): Promise<void> {
    this.#store.compact();
    this.#remainders.clear();
    const server = createServer(
      { key: await readFile(join(this.#directory, 'server.key')), cert: await readFile(this.#caPath) },
      (request, response) => {
        this.#serve(request, response).catch((error: unknown) => response.destroy(error as Error));
      },
    );
    server.listen(Number(new URL(this.url).port), '127.0.0.1');
    await once(server, 'listening');
    this.#server = server;
  }

  /** After `stop`: starts with an empty store, in which resource versions begin again. Users and their tokens are as before, their grants are gone. */
  async startEmpty(): Promise<void> {
    this.#store.clear();
    this.#grants.clear();
    this.#namespaces.clear();
    await this.startAgain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #caPath(): string {
    return join(this.#directory, 'server.crt');
  }

  async #writeKubeconfig(path: string, token: string): Promise<void> {
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster: { server: this.url, 'certificate-authority': this.#caPath } }],
      users: [{ name: 'user', user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'user' } }],
      'current-context': 'test',
    };
    await writeFile(path, JSON.stringify(config), { mode: 0o600 });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    const user = [...this.#tokens].find(([, known]) => known === token)?.[0];
    if (user === undefined) {
      fail(response, 401, 'Unauthorized', 'Unauthorized');
      return;
    }
    const method = request.method ?? 'GET';
    if (method === 'POST' && url.pathname === '/api/v1/namespaces') {
      await this.#makeNamespace(request, response);
      return;
    }
    const match = /^\/api\/v1(?:\/namespaces\/([^/]+))?\/secrets(?:\/([^/]+))?$/.exec(url.pathname);
    if (match === null) fail(response, 404, 'NotFound', 'the server could not find the requested resource');
    else await this.#serveSecrets({ user, method, url, namespace: match[1], name: match[2], request, response });
  }

  async #makeNamespace(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { metadata } = JSON.parse(await text(request)) as SecretBody;
    this.#namespaces.add(metadata?.name ?? '');
    this.#store.touch();
    reply(response, 201, { kind: 'Namespace', metadata });
  }

  async #serveSecrets(call: Call): Promise<void> {
    const { user, method, url, namespace, name, response } = call;
    const isWatch = url.searchParams.get('watch') === 'true';
    const verb = { POST: 'create', PUT: 'update', DELETE: 'delete' }[method] ?? (name === undefined ? (isWatch ? 'watch' : 'list') : 'get');
    if (!this.#isAllowed(user, verb, namespace)) {
      const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`;
      fail(response, 403, 'Forbidden', `secrets is forbidden: User "${user}" cannot ${verb} resource "secrets" in API group "" ${where}`);
    } else if (verb === 'watch') this.#watch(call);
    else if (verb === 'list') this.#list(call);
    else await this.#change(call, verb);
  }

  #isAllowed(user: string, verb: string, namespace: string | undefined): boolean {
    if (user === ADMIN) return true;
    const grants = [this.#grants.get(`${user} *`), ...(namespace === undefined ? [] : [this.#grants.get(`${user} ${namespace}`)])];
    return grants.some((grant) => grant?.resources.includes('secrets') === true && grant.verbs.includes(verb));
  }

  async #change({ namespace = '', name, request, response }: Call, verb: string): Promise<void> {
    const body = (verb === 'create' || verb === 'update' ? JSON.parse(await text(request)) : {}) as SecretBody;
    const key = name ?? body.metadata?.name ?? '';
    const before = this.#store.get(namespace, key);
    if (verb === 'create' ? before !== undefined : before === undefined) {
      const [status, reason] = verb === 'create' ? ([409, 'AlreadyExists'] as const) : ([404, 'NotFound'] as const);
      fail(response, status, reason, `secrets "${key}": ${reason}`);
      return;
    }
    if (!this.#namespaces.has(namespace)) {
      fail(response, 404, 'NotFound', `namespaces "${namespace}" not found`);
      return;
    }
    if (verb === 'delete') this.#store.delete(namespace, key);
    if (verb === 'delete' || verb === 'get') {
      reply(response, 200, before);
      return;
    }
    const type = body.type ?? before?.type ?? 'Opaque';
    const invalid = before !== undefined && before.type !== type ? 'type: field is immutable' : whyInvalid(type, body.data ?? {});
    if (invalid === undefined) reply(response, verb === 'create' ? 201 : 200, this.#store.put(namespace, key, type, body.data ?? {}));
    else fail(response, 422, 'Invalid', `Secret "${key}" is invalid: ${invalid}`);
  }

  #list({ url, namespace, response }: Call): void {
    const token = url.searchParams.get('continue');
    const remainder = token === null ? undefined : this.#remainders.get(token);
    if (token !== null && remainder === undefined) {
      fail(response, 410, 'Expired', 'The provided continue parameter is too old');
      return;
    }
    const { version, secrets } = remainder ?? { version: this.#store.version, secrets: this.#store.select(selectionOf(url, namespace)) };
    const limit = Number(url.searchParams.get('limit') ?? 0) || secrets.length;
    const rest = secrets.slice(limit);
    const next = rest.length === 0 ? {} : { continue: this.#keep({ version, secrets: rest }), remainingItemCount: rest.length };
    // Items of a list come without their kind.
    const items = secrets.slice(0, limit).map(({ type, metadata, data }) => ({ metadata, data, type }));
    reply(response, 200, { kind: 'SecretList', apiVersion: 'v1', metadata: { resourceVersion: String(version), ...next }, items });
  }

  #keep(remainder: Remainder): string {
    const token = randomBytes(8).toString('base64url');
    this.#remainders.set(token, remainder);
    for (const oldest of this.#remainders.keys()) {
      if (this.#remainders.size <= MAX_REMAINDERS) break;
      this.#remainders.delete(oldest);
    }
    return token;
  }

  #watch({ url, namespace, response }: Call): void {
    const selection = selectionOf(url, namespace);
    const from = Number(url.searchParams.get('resourceVersion') ?? 0);
    const timeoutMs = Number(url.searchParams.get('timeoutSeconds') ?? 1_800) * 1_000;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const send = (type: string, object: unknown): void => void response.write(`${JSON.stringify({ type, object })}\n`);
    if (from < this.#store.forgotten) {
      // A real one answers 200 and says it in the first event.
      send('ERROR', status(410, 'Expired', `too old resource version: ${from} (${this.#store.forgotten})`));
      response.end();
      return;
    }
    const resources = new DisposableStack();
    const bookmark = (): void => {
      const metadata = { resourceVersion: String(this.#store.version), creationTimestamp: null };
      if (url.searchParams.get('allowWatchBookmarks') === 'true') send('BOOKMARK', { kind: 'Secret', apiVersion: 'v1', metadata });
    };
    const bookmarks = setInterval(bookmark, this.#bookmarkEveryMs);
    const last = setTimeout(bookmark, Math.max(0, timeoutMs - LAST_BOOKMARK_MS));
    const end = setTimeout(() => response.end(), timeoutMs);
    resources.defer(() => [bookmarks, last, end].forEach((timer) => clearTimeout(timer)));
    for (const { kind, object } of this.#store.since(from, selection)) send(kind, object);
    resources.use(
      this.#store.subscribe(({ kind, version, object }) => {
        if (version > from && isSelected(object, selection)) send(kind, object); // also after a history that began anew
      }),
    );
    response.on('close', () => resources.dispose());
  }
}

function selectionOf(url: URL, namespace: string | undefined): Selection {
  const type = /^type=(.+)$/.exec(url.searchParams.get('fieldSelector') ?? '')?.[1];
  return { namespace, type };
}

/** The checks of an API server: the member must be there, and JSON. */
function whyInvalid(type: string, data: Readonly<Record<string, string>>): string | undefined {
  const member = MEMBERS[type];
  if (member === undefined) return undefined;
  if (data[member] === undefined) return `data[${member}]: Required value`;
  try {
    JSON.parse(Buffer.from(data[member], 'base64').toString('utf8'));
    return undefined;
  } catch {
    return `data[${member}]: Invalid value: "<secret contents redacted>"`;
  }
}

function status(code: number, reason: string, message: string): unknown {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code };
}

function fail(response: ServerResponse, code: number, reason: string, message: string): void {
  reply(response, code, status(code, reason, message));
}

function reply(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
