import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { TLSSocket, type PeerCertificate } from 'node:tls';

export interface Seen {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Name in the certificate the client showed. */
  readonly client?: string;
}

/** How a server speaks TLS. */
export interface WebTls {
  readonly key: string;
  readonly cert: string;
  /** Asks for a certificate of this authority; who shows none is turned away. */
  readonly clientCa?: string;
}

/** An answer, whole or broken in a way that a test wants. */
export type WebAnswer =
  | {
      readonly kind?: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string | string[]>>;
      readonly body?: string | Uint8Array;
    }
  | { readonly kind: 'hang' } // no head, ever
  | {
      readonly kind: 'stall' | 'break';
      readonly status: number;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: Uint8Array;
    }; // part of the body, then nothing, or the end of the connection

export interface Web {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly origin: string;
  readonly seen: readonly Seen[];
}

/** A server on a loopback port that answers as a function says, over real sockets. */
export async function startWeb(
  t: TestContext,
  answer: (seen: Seen, number: number) => WebAnswer | Promise<WebAnswer>,
  tls?: WebTls,
): Promise<Web> {
  const seen: Seen[] = [];
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    void (async () => {
      const body = Buffer.concat((await request.toArray()) as Buffer[]);
      const name =
        request.socket instanceof TLSSocket ? (request.socket.getPeerCertificate() as Partial<PeerCertificate>).subject?.CN : undefined;
      const client = typeof name === 'string' ? { client: name } : {};
      const one: Seen = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body, ...client };
      seen.push(one);
      give(response, await answer(one, seen.length));
    })().catch(() => response.destroy()); // the client went away
  };
  const server: Server = tls === undefined ? createServer(serve) : createSecureServer(secure(tls), serve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { host, origin: `${tls === undefined ? 'http' : 'https'}://${host}`, seen };
}

function secure({ key, cert, clientCa }: WebTls): ServerOptions {
  return { key, cert, ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }) };
}

function give(response: ServerResponse, answer: WebAnswer): void {
  if (answer.kind === 'hang') return;
  response.writeHead(answer.status, answer.headers);
  if (answer.kind === 'stall' || answer.kind === 'break') {
    response.write(answer.body, () => {
      if (answer.kind === 'break') response.socket?.destroySoon();
    });
    return;
  }
  response.end(answer.body);
}

/** The answer to a ranged request for a blob, right in everything. */
export function partOf(blob: Uint8Array, range: string | undefined): WebAnswer & { readonly kind?: 'answer' } {
  const [, first = '0', last = ''] = /^bytes=([0-9]+)-([0-9]*)$/.exec(range ?? '') ?? [];
  if (range === undefined) return { status: 200, body: blob, headers: { 'content-length': String(blob.length) } };
  const end = last === '' ? blob.length : Number(last) + 1;
  const body = blob.subarray(Number(first), end);
  return {
    status: 206,
    body,
    headers: { 'content-range': `bytes ${first}-${end - 1}/${blob.length}`, 'content-length': String(body.length) },
  };
}
