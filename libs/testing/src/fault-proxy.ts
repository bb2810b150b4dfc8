import { once } from 'node:events';
import { createServer, request as send, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { basicLogin } from './basic-login.ts';

/** What happens to one request. */
export type Fault =
  | { readonly kind: 'pass' }
  | { readonly kind: 'hang' }
  /** The connection is reset before an answer. */
  | { readonly kind: 'reset' }
  | { readonly kind: 'status'; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  /** The whole is sent, whatever range was asked for. */
  | { readonly kind: 'whole' }
  /** The connection ends after so many bytes of the body, or in the middle of a shorter one. */
  | { readonly kind: 'short'; readonly bytes: number }
  /** The body comes in pieces of that many bytes, with pauses between. */
  | { readonly kind: 'trickle'; readonly bytes: number; readonly everyMs: number }
  /** Flips the lowest bit of the byte at `offset` of the answer's body. */
  | { readonly kind: 'corrupt'; readonly offset: number };

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorized: boolean;
  /** Of a login by HTTP Basic. */
  readonly user: string | undefined;
  readonly userAgent: string;
}

/** Stands before a registry on a loopback port and does to its answers what a test says. */
export class FaultProxy implements AsyncDisposable {
  /** Every request so far, oldest first. */
  readonly seen: SeenRequest[] = [];
  /** Asked for every request; change it at any time. */
  fault: (request: SeenRequest) => Fault = () => ({ kind: 'pass' });
  readonly #server: Server;
  readonly #target: string;

  private constructor(target: string) {
    this.#target = target;
    this.#server = createServer((request, response) => this.#serve(request, response));
  }

  /** @param target `host:port` of the real registry */
  static async start(target: string): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { method = 'GET', url = '/', headers } = request;
    const seen = {
      method,
      path: url,
      range: headers.range,
      authorized: headers.authorization !== undefined,
      user: basicLogin(headers.authorization)?.username,
      userAgent: headers['user-agent'] ?? '',
    };
    this.seen.push(seen);
    const fault = this.fault(seen);
    if (fault.kind === 'hang') return;
    if (fault.kind === 'reset') {
      request.socket.resetAndDestroy();
      return;
    }
    if (fault.kind === 'status') {
      response.writeHead(fault.status, fault.headers).end();
      return;
    }
    const [hostname, port] = this.#target.split(':');
    const { range, ...unranged } = headers;
    const asked = fault.kind === 'whole' || range === undefined ? unranged : headers;
    const forward = send({ hostname, port, method, path: url, headers: asked }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      if (fault.kind === 'short' || fault.kind === 'trickle') {
        void maim(answer, response, fault).catch(() => response.destroy());
        return;
      }
      let offset = 0;
      answer.on('data', (chunk: Buffer) => {
        if (fault.kind === 'corrupt' && fault.offset >= offset && fault.offset < offset + chunk.length) {
          const at = fault.offset - offset;
          chunk[at] = (chunk[at] ?? 0) ^ 1;
        }
        offset += chunk.length;
        if (!response.write(chunk)) answer.pause();
      });
      response.on('drain', () => answer.resume());
      answer.on('end', () => response.end());
      answer.on('error', () => response.destroy());
    });
    forward.on('error', () => response.destroy());
    response.on('close', () => forward.destroy());
    request.pipe(forward);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }
}

/** Sends a body as a line would that breaks, or hardly carries anything. */
async function maim(
  answer: IncomingMessage,
  response: ServerResponse,
  fault: Extract<Fault, { kind: 'short' | 'trickle' }>,
): Promise<void> {
  const body = Buffer.concat((await answer.toArray()) as Buffer[]);
  if (fault.kind === 'short') {
    response.write(body.subarray(0, Math.min(fault.bytes, body.length >>> 1)), () => response.socket?.destroySoon());
    return;
  }
  for (let at = 0; at < body.length && !response.destroyed; at += fault.bytes) {
    response.write(body.subarray(at, at + fault.bytes));
    await sleep(fault.everyMs);
  }
  response.end();
}
