import { createHash } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';

export interface ClientCertificate {
  /** PEM; with the key in it where `key` is left out. */
  readonly certificate: string;
  readonly key?: string;
}

export interface ConnectionOptions {
  /** Authorities to trust besides the usual ones, PEM. */
  readonly authorities?: readonly string[];
  /** Shown to a server that asks; of several for one kind of key the last counts. */
  readonly clients?: readonly ClientCertificate[];
  /** The server's certificate is not checked. */
  readonly isInsecure?: boolean;
  /** TCP and TLS handshake, in place of the transport's own. */
  readonly dialTimeoutMs?: number;
}

/** How connections to one host are made, where it has settings of its own. Equal settings have equal ids, and share connections. Keys are not shown. */
export class Connection {
  readonly id: string;
  readonly isInsecure: boolean;
  readonly dialTimeoutMs: number | undefined;
  readonly #authorities: readonly string[];
  readonly #clients: readonly ClientCertificate[];

  /** @throws when a certificate and a key do not belong together, or are none */
  constructor({ authorities = [], clients = [], isInsecure = false, dialTimeoutMs }: ConnectionOptions) {
    this.#authorities = authorities;
    this.#clients = clients;
    this.isInsecure = isInsecure;
    this.dialTimeoutMs = dialTimeoutMs;
    this.id = createHash('sha256')
      .update(JSON.stringify([authorities, clients, isInsecure, dialTimeoutMs]))
      .digest('hex');
    for (const client of clients) createSecureContext(certificates([client]));
  }

  /** @returns undefined where only what is usual is trusted, and nothing shown */
  secureContext(usual: readonly string[]): SecureContext | undefined {
    if (this.#authorities.length === 0 && this.#clients.length === 0) return undefined;
    return createSecureContext({ ca: [...usual, ...this.#authorities], ...certificates(this.#clients) });
  }

  /** For other hosts that this one leads to: they are trusted likewise, but shown nothing. */
  withoutClients(): Connection {
    if (this.#clients.length === 0) return this;
    return new Connection({
      authorities: this.#authorities,
      isInsecure: this.isInsecure,
      ...(this.dialTimeoutMs === undefined ? {} : { dialTimeoutMs: this.dialTimeoutMs }),
    });
  }
}

function certificates(clients: readonly ClientCertificate[]): { readonly cert?: string[]; readonly key?: string[] } {
  if (clients.length === 0) return {};
  return { cert: clients.map(({ certificate }) => certificate), key: clients.map(({ certificate, key }) => key ?? certificate) };
}
