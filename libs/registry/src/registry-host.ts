import type { Connection } from './connection.ts';

/** What a host may be asked to do, and is trusted with. */
export const CAPABILITIES = ['pull', 'resolve', 'push', 'referrers'] as const;
export type Capability = (typeof CAPABILITIES)[number];

export interface RegistryHostOptions {
  /** Where its interface begins: `https://mirror.example.com/v2/`. */
  readonly base: URL;
  /** What credential sources are asked for: lower case, with the port if it was written. */
  readonly credentialHost: string;
  readonly capabilities?: readonly Capability[];
  /** The registry that a mirror stands for; it is told so. */
  readonly namespace?: string;
  /** Sent with every request to this host and to no other. By lower-case name. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly connection?: Connection;
  /** For one whole attempt; 0 for no limit. */
  readonly requestTimeoutMs?: number;
  /** Spoken to in place of this one when it turns out not to speak TLS. */
  readonly plain?: RegistryHost;
}

/** A host that has a registry's content: the registry itself, or a mirror of it. Its headers may be secrets and are not shown. */
export class RegistryHost {
  readonly base: URL;
  readonly credentialHost: string;
  readonly requestTimeoutMs: number | undefined;
  readonly plain: RegistryHost | undefined;
  readonly connection: Connection | undefined;
  readonly #capabilities: ReadonlySet<Capability>;
  readonly #namespace: string | undefined;
  readonly #headers: Readonly<Record<string, string>>;
  #foreign: Connection | undefined;

  constructor({
    base,
    credentialHost,
    capabilities = CAPABILITIES,
    namespace,
    headers = {},
    connection,
    requestTimeoutMs,
    plain,
  }: RegistryHostOptions) {
    this.base = base;
    this.credentialHost = credentialHost;
    this.requestTimeoutMs = requestTimeoutMs;
    this.plain = plain;
    this.connection = connection;
    this.#capabilities = new Set(capabilities);
    this.#namespace = namespace;
    this.#headers = headers;
  }

  /** For messages. */
  get name(): string {
    return this.base.host;
  }

  /** Tells hosts apart whose failures have nothing to do with each other. */
  get key(): string {
    return `${this.base.href} ${this.connection?.id ?? ''}`;
  }

  can(needs: readonly Capability[]): boolean {
    return needs.every((need) => this.#capabilities.has(need));
  }

  isOrigin(url: URL): boolean {
    return url.origin === this.base.origin;
  }

  /** @param path behind the interface's beginning: `team/app/manifests/1.0` */
  urlOf(path: string): URL {
    return new URL(path, this.base);
  }

  /** What is added to the query of a request: a mirror of several registries learns by it which one is meant. */
  queryFor(url: URL): Readonly<Record<string, string>> {
    return this.#namespace === undefined || !this.isOrigin(url) || url.searchParams.has('ns') ? {} : { ns: this.#namespace };
  }

  headersFor(url: URL): Readonly<Record<string, string>> {
    return this.isOrigin(url) ? this.#headers : {};
  }

  /** A host that this one leads to, such as its storage, is trusted likewise, but is shown no certificate. */
  connectionFor(url: URL): Connection | undefined {
    if (this.isOrigin(url)) return this.connection;
    this.#foreign ??= this.connection?.withoutClients();
    return this.#foreign;
  }
}

/** Where the registry of a namespace is asked, in order. */
export interface RegistryHosts {
  /**
   * @param namespace host part of a reference, as it is written there
   * @param origin the registry itself, as it is asked where nothing is configured
   * @returns the registry itself last, unless the configuration leaves it out
   * @throws {RegistryError} `HOSTS_INVALID`
   */
  hostsFor(namespace: string, origin: RegistryHost, signal: AbortSignal): Promise<readonly RegistryHost[]>;
}
