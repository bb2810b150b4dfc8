import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Child } from './child.ts';
import { askKube, bodyOf, type KubeAnswer } from './kube-client.ts';
import { kubeProgram } from './kube-programs.ts';
import { freePort } from './ports.ts';

const run = promisify(execFile);

export interface KubeApiOptions {
  /** Data, keys, kubeconfigs and logs go below. */
  readonly directory: string;
  /** Names that get a token and a kubeconfig, and no right until `grant`. Beside them there are `admin` and `system:node:<node>`. */
  readonly users?: readonly string[];
  /** Names of the nodes whose kubelets are to be let in. */
  readonly nodes?: readonly string[];
}

export interface Grant {
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  /** Where it holds; everywhere by default. */
  readonly namespace?: string;
}

/** An account for JSON requests whose status is asked after. */
export interface AskOptions {
  /** `admin` by default. */
  readonly user?: string;
  readonly contentType?: string;
}

const ADMIN = 'admin';
const READY_MS = 60_000;
const RBAC = '/apis/rbac.authorization.k8s.io/v1';

/** etcd and a kube-apiserver on loopback ports, which they keep over a restart. No controller and no scheduler runs: who needs a service account makes it. */
export class KubeApi implements AsyncDisposable {
  /** `https://127.0.0.1:PORT` */
  readonly url: string;
  /** Path of the kubeconfig of an administrator. */
  readonly adminKubeconfig: string;
  readonly #directory: string;
  readonly #tokens: ReadonlyMap<string, string>;
  readonly #etcdUrl: string;
  readonly #etcdPeerUrl: string;
  #etcd: Child | undefined;
  #server: Child | undefined;

  private constructor(directory: string, ports: readonly [number, number, number], tokens: ReadonlyMap<string, string>) {
    this.#directory = directory;
    this.url = `https://127.0.0.1:${ports[0]}`;
    this.#etcdUrl = `http://127.0.0.1:${ports[1]}`;
    this.#etcdPeerUrl = `http://127.0.0.1:${ports[2]}`;
    this.#tokens = tokens;
    this.adminKubeconfig = this.kubeconfig(ADMIN);
  }

  static async start({ directory, users = ['soci-secrets', 'other'], nodes = [] }: KubeApiOptions): Promise<KubeApi> {
    const names = [ADMIN, ...users, ...nodes.map((node) => `system:node:${node}`)];
    const tokens = new Map(names.map((name) => [name, randomBytes(16).toString('hex')]));
    const api = new KubeApi(directory, [await freePort(), await freePort(), await freePort()], tokens);
    await mkdir(join(directory, 'certificates'), { recursive: true });
    await run('openssl', ['genrsa', '-out', api.#path('service-accounts.key'), '2048']);
    await writeFile(api.#path('tokens.csv'), [...tokens].map(([name, token], index) => tokenLine(name, token, index)).join(''), {
      mode: 0o600,
    });
    for (const name of names) await api.#writeKubeconfig(api.kubeconfig(name), api.token(name));
    try {
      await api.#startEtcd();
      await api.startAgain();
    } catch (error) {
      await api[Symbol.asyncDispose]();
      throw error;
    }
    return api;
  }

  /** Path of the kubeconfig of one of the users. */
  kubeconfig(user: string): string {
    return this.#path(`${user.replaceAll(':', '-')}.kubeconfig`);
  }

  token(user: string): string {
    const token = this.#tokens.get(user);
    if (token === undefined) throw new Error(`the API server was started without a user ${user}`);
    return token;
  }

  /** Gives a user exactly this in one namespace, or in all; what was granted there before goes. */
  async grant(user: string, { resources, verbs, namespace }: Grant): Promise<void> {
    await this.revoke(user, namespace);
    const [kind, base] = namespace === undefined ? ['ClusterRole', RBAC] : ['Role', `${RBAC}/namespaces/${namespace}`];
    const metadata = { name: user };
    await this.expect('POST', `${base}/${kind.toLowerCase()}s`, { metadata, rules: [{ apiGroups: [''], resources, verbs }] });
    await this.expect('POST', `${base}/${kind.toLowerCase()}bindings`, {
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name: user },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
    });
  }

  async revoke(user: string, namespace?: string): Promise<void> {
    const [kind, base] = namespace === undefined ? ['clusterrole', RBAC] : ['role', `${RBAC}/namespaces/${namespace}`];
    for (const list of [`${kind}bindings`, `${kind}s`]) await this.request('DELETE', `${base}/${list}/${user}`);
  }

  request<T>(method: string, path: string, body?: unknown, { user = ADMIN, contentType }: AskOptions = {}): Promise<KubeAnswer<T>> {
    return askKube<T>({
      url: this.url,
      caPath: this.#caPath,
      token: this.token(user),
      method,
      path,
      body,
      ...(contentType === undefined ? {} : { contentType }),
    });
  }

  /** A request of the administrator. @throws where it is not granted */
  async expect<T>(method: string, path: string, body?: unknown): Promise<T> {
    return bodyOf(await this.request<T>(method, path, body), `${method} ${path}`);
  }

  async createNamespace(name: string): Promise<void> {
    await this.expect('POST', '/api/v1/namespaces', { metadata: { name } });
  }

  /** @param imagePullSecrets names of secrets of the namespace that its pods get */
  async createServiceAccount(namespace: string, name: string, imagePullSecrets: readonly string[] = []): Promise<void> {
    await this.expect('POST', `/api/v1/namespaces/${namespace}/serviceaccounts`, {
      metadata: { name },
      imagePullSecrets: imagePullSecrets.map((secret) => ({ name: secret })),
    });
  }

  /** @returns path of a kubeconfig with a token of the account, which is asked for here */
  async serviceAccountKubeconfig(namespace: string, name: string): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
    const { status } = await this.expect<{ readonly status: { readonly token: string } }>('POST', path, { spec: {} });
    const kubeconfig = this.#path(`account-${namespace}-${name}.kubeconfig`);
    await this.#writeKubeconfig(kubeconfig, status.token);
    return kubeconfig;
  }

  /** Makes or replaces a pull secret. @param logins registry key to `username:password` */
  async putPullSecret(namespace: string, name: string, logins: Readonly<Record<string, string>>): Promise<void> {
    const auths = Object.fromEntries(
      Object.entries(logins).map(([host, login]) => [host, { auth: Buffer.from(login).toString('base64') }]),
    );
    const secret = {
      metadata: { name },
      type: 'kubernetes.io/dockerconfigjson',
      data: { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths })).toString('base64') },
    };
    const list = `/api/v1/namespaces/${namespace}/secrets`;
    const { status } = await this.request('PUT', `${list}/${name}`, secret);
    if (status === 404) await this.expect('POST', list, secret);
    else if (status >= 300) throw new Error(`PUT ${list}/${name}: ${status}`);
  }

  /** Ends the API server; etcd stays. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#server?.kill(signal);
    await this.#server?.exited(READY_MS);
  }

  /** Starts the API server, with what etcd holds. */
  async startAgain(): Promise<void> {
    const key = this.#path('service-accounts.key');
    const flags = {
      'etcd-servers': this.#etcdUrl,
      'secure-port': new URL(this.url).port,
      'bind-address': '127.0.0.1',
      'advertise-address': '10.255.255.1', // a loopback address is refused; nothing connects to this one
      'cert-dir': this.#path('certificates'),
      'service-account-issuer': 'https://kubernetes.test',
      'service-account-key-file': key,
      'service-account-signing-key-file': key,
      'authorization-mode': 'Node,RBAC',
      'token-auth-file': this.#path('tokens.csv'),
      'service-cluster-ip-range': '10.0.0.0/24',
      'shutdown-delay-duration': '0s',
    };
    const child = new Child(
      kubeProgram('kube-apiserver'),
      Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
      { logPath: this.#path('kube-apiserver.log') },
    );
    this.#server = child;
    await child.ready(async () => (await this.request<string>('GET', '/readyz')).body === 'ok', READY_MS);
  }

  /** After `stop`: starts with an empty store, in which resource versions begin again. Users and their tokens are as before, their grants are gone. */
  async startEmpty(): Promise<void> {
    await this.#etcd?.stop();
    await rm(this.#path('etcd'), { recursive: true, force: true });
    await this.#startEtcd();
    await this.startAgain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.kill('SIGKILL'); // nothing of it is used again, and it would drain its watches first
    await this.#server?.stop();
    await this.#etcd?.stop();
  }

  get #caPath(): string {
    return this.#path('certificates/apiserver.crt');
  }

  async #startEtcd(): Promise<void> {
    const flags = {
      'data-dir': this.#path('etcd'),
      'listen-client-urls': this.#etcdUrl,
      'advertise-client-urls': this.#etcdUrl,
      'listen-peer-urls': this.#etcdPeerUrl,
      'initial-advertise-peer-urls': this.#etcdPeerUrl,
      'initial-cluster': `default=${this.#etcdPeerUrl}`,
    };
    const child = new Child(
      kubeProgram('etcd'),
      Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]),
      { logPath: this.#path('etcd.log') },
    );
    this.#etcd = child;
    await child.ready(async () => (await fetch(`${this.#etcdUrl}/health`)).ok, READY_MS);
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
    await writeFile(path, JSON.stringify(config), { mode: 0o600 }); // YAML takes JSON
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

function tokenLine(name: string, token: string, index: number): string {
  const group = name === ADMIN ? ',system:masters' : name.startsWith('system:node:') ? ',system:nodes' : '';
  return `${token},${name},${index}${group}\n`;
}
