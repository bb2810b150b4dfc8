import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type ClientHttp2Session, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { connect as connectSocket, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { collectLogs, type LogCollector } from '@soci/log';
import { createMetrics, type Metrics } from '@soci/metrics';
import { serveGrpc, type GrpcServer } from '@soci/rpc';
import { createImageServiceProxy, CriCredentials } from '../index.ts';

export const PULL = '/runtime.v1.ImageService/PullImage';

export async function makeTempDir(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'soci-cri-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

export interface UpstreamCall {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
}

/** Stands for containerd where faults are needed: it does to a call whatever the test says. */
export class FakeUpstream {
  readonly path: string;
  readonly calls: UpstreamCall[] = [];
  handle: (call: UpstreamCall) => void;
  #server: ReturnType<typeof createServer> | undefined;
  readonly #sockets = new Set<Socket>();

  constructor(path: string, handle: (call: UpstreamCall) => void) {
    this.path = path;
    this.handle = handle;
  }

  async start(): Promise<void> {
    const server = createServer({ maxSessionMemory: 512 });
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    server.on('sessionError', () => undefined);
    server.on('stream', (stream, headers, _flags, rawHeaders) => {
      stream.on('error', () => undefined);
      const call = { stream, headers, rawHeaders };
      this.calls.push(call);
      this.handle(call);
    });
    server.listen(this.path);
    await once(server, 'listening');
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

export interface Proxied {
  readonly upstream: FakeUpstream;
  readonly credentials: CriCredentials;
  readonly server: GrpcServer;
  readonly logs: LogCollector;
  readonly metrics: Metrics;
}

/** A proxy on a socket of its own before an upstream that does what `handle` says. */
export async function startProxied(
  t: TestContext,
  handle: (call: UpstreamCall) => void,
  ownerUid = process.getuid?.() ?? 0,
): Promise<Proxied> {
  const upstream = new FakeUpstream(join(await makeTempDir(t), 'containerd.sock'), handle);
  await upstream.start();
  t.after(() => upstream.stop());
  return { upstream, ...(await startProxy(t, upstream.path, ownerUid)) };
}

export async function startProxy(t: TestContext, path: string, ownerUid = 0): Promise<Omit<Proxied, 'upstream'>> {
  const logs = collectLogs();
  const metrics = createMetrics();
  const credentials = new CriCredentials();
  const proxy = createImageServiceProxy({ upstream: { path, ownerUid }, credentials, log: logs.log, metrics });
  const address = join(await makeTempDir(t), 'proxy.sock');
  const server = await serveGrpc({ address, services: [], log: logs.log, passThrough: proxy, graceMs: 100 });
  t.after(async () => {
    await server.stop();
    proxy[Symbol.dispose]();
    credentials[Symbol.dispose]();
  });
  return { credentials, server, logs, metrics };
}

export function openSession(t: TestContext, server: GrpcServer): ClientHttp2Session {
  const session = connect('http://localhost', {
    createConnection: () => connectSocket(server.address.replace('unix://', '')),
    maxSessionMemory: 512,
  });
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  return session;
}

export function frame(message: Uint8Array, isCompressed = false): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = isCompressed ? 1 : 0;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

export interface Answered {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly rawTrailers: readonly string[];
  readonly body: Buffer;
  /** Of the trailers, or of the headers where there is nothing else. */
  readonly status: string | undefined;
}

/** One call, by hand. */
export async function call(
  session: ClientHttp2Session,
  path: string,
  body: Uint8Array,
  headers: Readonly<Record<string, string | string[]>> = {},
): Promise<Answered> {
  const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...headers });
  stream.end(body);
  let answer: Pick<Answered, 'headers' | 'rawHeaders'> = { headers: {}, rawHeaders: [] };
  let last: Pick<Answered, 'trailers' | 'rawTrailers'> = { trailers: {}, rawTrailers: [] };
  stream.on('response', (headers, _flags, rawHeaders) => (answer = { headers, rawHeaders }));
  stream.on('trailers', (trailers: IncomingHttpHeaders, _flags: number, rawTrailers: string[]) => (last = { trailers, rawTrailers }));
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(stream, 'close');
  const status = (last.trailers['grpc-status'] ?? answer.headers['grpc-status']) as string | undefined;
  return { ...answer, ...last, body: Buffer.concat(chunks), status };
}

/** Answers as a server does that has nothing to say against it. */
export function answer(stream: ServerHttp2Stream, body: Uint8Array, trailers: Readonly<Record<string, string | string[]>> = {}): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', ...trailers }));
  stream.end(body);
}

export function refuse(stream: ServerHttp2Stream, status: number, message = 'no'): void {
  stream.respond(
    { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(status), 'grpc-message': message },
    { endStream: true },
  );
}

export async function bodyOf(stream: ServerHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
