import { execFile } from 'node:child_process';
import { createPrivateKey, randomUUID, sign, X509Certificate, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { basicLogin } from './basic-login.ts';

const run = promisify(execFile);

/** Whether somebody, or nobody in particular, may read a repository. */
export type MayRead = (user: string | undefined, repository: string) => boolean;

export interface TokenServerOptions {
  /** Where its key and certificate go. */
  readonly directory: string;
  /** Name to password. */
  readonly users: Readonly<Record<string, string>>;
  readonly mayRead?: MayRead;
}

export interface TokenRequest {
  readonly method: string;
  readonly kind: 'anonymous' | 'basic' | 'password' | 'refresh_token';
  readonly user: string | undefined;
  /** Whether the login was right. */
  readonly granted: boolean;
  readonly userAgent: string;
  readonly scopes: readonly string[];
}

interface Asked {
  readonly kind: TokenRequest['kind'];
  readonly user?: string | undefined;
  readonly isRight: boolean;
  readonly scopes: readonly string[];
}

const MAX_FORM_BYTES = 64 << 10;

/** The token server of a registry with `auth: token`: tokens signed with RSA, for GET with Basic and for the POST form of OAuth2. */
export class TokenServer implements AsyncDisposable {
  readonly service = 'test-registry';
  readonly issuer = 'test-issuer';
  /** For the registry's `rootcertbundle`. */
  readonly certificatePath: string;
  /** Who may log in with which password; change it at any time. */
  readonly users: Map<string, string>;
  /** Refresh token to user; change it at any time. */
  readonly identityTokens = new Map<string, string>();
  /** Asked for each repository of each token; change it at any time. */
  mayRead: MayRead;
  /** What clients are told as `expires_in`. */
  lifeSec = 300;
  /** The life that tokens carry, where it is not `lifeSec`. Registries take a token for 60 seconds more: one issued with -55 is refused five seconds later. */
  signedLifeSec: number | undefined;
  /** Every request so far, oldest first. */
  readonly seen: TokenRequest[] = [];
  /** Every token given out so far. */
  readonly issued: string[] = [];
  readonly #server: Server;
  #key: KeyObject | undefined;
  #certificate = '';

  private constructor({ directory, users, mayRead = (user) => user !== undefined }: TokenServerOptions) {
    this.certificatePath = join(directory, 'token.crt');
    this.users = new Map(Object.entries(users));
    this.mayRead = mayRead;
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  static async start(options: TokenServerOptions): Promise<TokenServer> {
    const server = new TokenServer(options);
    await mkdir(options.directory, { recursive: true });
    const keyPath = join(options.directory, 'token.key');
    const name = ['-subj', '/CN=token server', '-days', '2'];
    await run('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', keyPath, '-out', server.certificatePath, ...name]);
    server.#key = createPrivateKey(await readFile(keyPath));
    server.#certificate = new X509Certificate(await readFile(server.certificatePath)).raw.toString('base64');
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get realm(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/token`;
  }

  /** How often somebody logged in, rightly or not. */
  logins(user?: string): number {
    return this.seen.filter((request) => request.kind !== 'anonymous' && (user === undefined || request.user === user)).length;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = request.method === 'POST' ? this.#askedByForm(await form(request)) : this.#askedByQuery(request);
    const { kind, user, isRight, scopes } = asked;
    const userAgent = request.headers['user-agent'] ?? '';
    this.seen.push({ method: request.method ?? 'GET', kind, user, granted: isRight, userAgent, scopes });
    response.setHeader('content-type', 'application/json');
    if (!isRight) {
      response.writeHead(401).end('{"errors":[{"code":"UNAUTHORIZED","message":"wrong login"}]}');
      return;
    }
    const token = this.#token(user, scopes);
    this.issued.push(token);
    response.end(JSON.stringify({ token, access_token: token, expires_in: this.lifeSec, issued_at: new Date().toISOString() }));
  }

  #askedByForm(fields: URLSearchParams): Asked {
    const scopes = (fields.get('scope') ?? '').split(' ').filter((scope) => scope !== '');
    if (fields.get('grant_type') === 'refresh_token') {
      const user = this.identityTokens.get(fields.get('refresh_token') ?? '');
      return { kind: 'refresh_token', user, isRight: user !== undefined, scopes };
    }
    const user = fields.get('username') ?? '';
    return { kind: 'password', user, isRight: this.users.get(user) === fields.get('password'), scopes };
  }

  #askedByQuery({ url = '/', headers }: IncomingMessage): Asked {
    const scopes = new URL(url, this.realm).searchParams.getAll('scope').flatMap((scope) => scope.split(' '));
    const login = basicLogin(headers.authorization);
    if (login === undefined) return { kind: 'anonymous', isRight: true, scopes };
    return { kind: 'basic', user: login.username, isRight: this.users.get(login.username) === login.password, scopes };
  }

  #token(user: string | undefined, scopes: readonly string[]): string {
    if (this.#key === undefined) throw new Error('the token server was not started');
    const now = Math.floor(Date.now() / 1_000);
    const access = scopes
      .map((scope) => scope.split(':'))
      .map(([type = '', ...rest]) => ({ type, name: rest.slice(0, -1).join(':'), actions: (rest.at(-1) ?? '').split(',') }))
      .filter(({ name }) => this.mayRead(user, name));
    const claims = {
      iss: this.issuer,
      sub: user ?? '',
      aud: this.service,
      exp: now + (this.signedLifeSec ?? this.lifeSec),
      nbf: now - 120,
      iat: now - 120,
      jti: randomUUID(),
      access,
    };
    const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = `${encode({ typ: 'JWT', alg: 'RS256', x5c: [this.#certificate] })}.${encode(claims)}`;
    return `${signed}.${sign('sha256', Buffer.from(signed), this.#key).toString('base64url')}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }
}

async function form(request: IncomingMessage): Promise<URLSearchParams> {
  if (Number(request.headers['content-length'] ?? 0) > MAX_FORM_BYTES) throw new Error('form too large');
  return new URLSearchParams(await text(request));
}
