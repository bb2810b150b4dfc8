import { once } from 'node:events';
import { createServer, request as send, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basicLogin } from './basic-login.ts';

/** What happens to one request: it passes, never gets an answer, gets another status, or one byte of its answer is changed. */
export type Fault =
  | { readonly kind: 'pass' }
  | { readonly kind: 'hang' }
  | { readonly kind: 'status'; readonly status: number }
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
    if (fault.kind === 'status') {
      response.writeHead(fault.status).end();
      return;
    }
    const [hostname, port] = this.#target.split(':');
    const forward = send({ hostname, port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
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
