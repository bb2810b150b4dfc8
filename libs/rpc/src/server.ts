import type { Server as SocketServer, Socket } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { Logger } from '@soci/log';
import { parseAddress, type Address } from './address.ts';
import { RpcError } from './errors.ts';
import type { ServiceImplementation } from './handlers.ts';
import { Health } from './health.ts';
import { listenDescriptor, listenTcp, listenUnix } from './listen.ts';
import { PassThroughSockets, type PassThrough } from './pass-through.ts';
import { activatedSocket } from './socket-activation.ts';
import type { Tls } from './tls.ts';

export interface ServeOptions {
  /** `unix://path`, a bare path, `tcp://host:port` (needs `tls`) or `fd://` for a socket that systemd opened. */
  readonly address: string;
  readonly services: readonly ServiceImplementation[];
  readonly log: Logger;
  /** Permission bits of a unix socket; without it the umask decides. */
  readonly socketMode?: number;
  /** Server certificate and the authority of the clients' certificates: every client must have one. */
  readonly tls?: Tls;
  /** Calls that share the socket and are answered by something else; not with `tls`. They count and end like the others when the server stops. */
  readonly passThrough?: PassThrough;
  /** How long calls under way may take after {@link GrpcServer.stop}; those left then are cancelled. */
  readonly graceMs?: number;
  /** For `fd://`. */
  readonly activation?: {
    readonly environment: Readonly<Record<string, string | undefined>>;
    readonly pid: number;
    /** Listened on when no socket was passed. */
    readonly fallbackAddress: string;
  };
}

export interface GrpcServer extends AsyncDisposable {
  /** What is listened on, in the form that a client takes; with the port that was chosen where 0 was asked for. */
  readonly address: string;
  readonly health: Health;
  /** Takes no more calls, waits for those under way, cancels what is left after the grace period. Never takes longer than that; may be called twice. */
  stop(): Promise<void>;
}

const DEFAULT_GRACE_MS = 3_000;
/** grpc-go's limit for what a server receives. */
const MAX_REQUEST_BYTES = 4 << 20;
const MAX_CONCURRENT_CALLS = 4_096;
/** Bulk answers go over one stream; HTTP/2's own 64 KiB would stop it after each. */
const FLOW_CONTROL_WINDOW_BYTES = 1 << 20;

/**
 * Serves gRPC services, and health, on one socket.
 * @throws {RpcError} `ADDRESS_INVALID`, `ADDRESS_IN_USE`, `LISTEN_FAILED`
 */
export async function serveGrpc(options: ServeOptions): Promise<GrpcServer> {
  const { services, tls, passThrough, graceMs = DEFAULT_GRACE_MS } = options;
  if (passThrough !== undefined && tls !== undefined)
    throw new RpcError('ADDRESS_INVALID', `listen on ${options.address}: a socket under TLS cannot be shared`);
  const server = new Server({
    'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': MAX_CONCURRENT_CALLS,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
    'grpc.enable_channelz': 0,
  });
  const health = new Health(services.map(({ name }) => name));
  for (const { definition, handlers } of [...services, health.implementation()]) server.addService(definition, handlers);
  const injector = server.createConnectionInjector(tls === undefined ? ServerCredentials.createInsecure() : serverCredentials(tls));
  const connections = new Set<Socket>();
  const shared = passThrough === undefined ? undefined : new PassThroughSockets(passThrough);
  const { sockets, address } = await listen(options, (socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    socket.on('error', (error) => options.log.debug({ error }, 'connection failed'));
    shared?.claim(socket);
    injector.injectConnection(socket);
  });
  sockets.on('error', (error) => options.log.error({ error }, 'accepting connections failed'));

  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= shutDown({ server, sockets, connections, shared, health, graceMs }));
  return { address, health, stop, [Symbol.asyncDispose]: stop };
}

function listen(options: ServeOptions, onConnection: (socket: Socket) => void): Promise<{ sockets: SocketServer; address: string }> {
  const address = parseAddress(options.address);
  return address.kind === 'activation' ? listenActivated(options, onConnection) : listenAt(address, options, onConnection);
}

async function listenAt(
  address: Exclude<Address, { kind: 'activation' }>,
  { socketMode, tls }: ServeOptions,
  onConnection: (socket: Socket) => void,
): Promise<{ sockets: SocketServer; address: string }> {
  if (address.kind === 'unix')
    return { sockets: await listenUnix(address.path, onConnection, { socketMode }), address: `unix://${address.path}` };
  if (tls === undefined)
    throw new RpcError('ADDRESS_INVALID', `listen on ${address.host}:${address.port}: TCP needs TLS with client certificates`);
  const sockets = await listenTcp(address, onConnection);
  const bound = sockets.address();
  const port = bound !== null && typeof bound !== 'string' ? bound.port : address.port;
  return { sockets, address: `tcp://${address.host.includes(':') ? `[${address.host}]` : address.host}:${port}` };
}

async function listenActivated(
  options: ServeOptions,
  onConnection: (socket: Socket) => void,
): Promise<{ sockets: SocketServer; address: string }> {
  const { activation, log } = options;
  if (activation === undefined) throw new RpcError('ADDRESS_INVALID', 'address fd://: socket activation is not offered here');
  const fd = activatedSocket(activation.environment, activation.pid);
  if (fd !== undefined) return { sockets: await listenDescriptor(fd, onConnection), address: 'fd://' };
  log.info({ address: activation.fallbackAddress }, 'no socket was passed by socket activation, listening on the default address');
  const address = parseAddress(activation.fallbackAddress);
  if (address.kind === 'activation') throw new RpcError('ADDRESS_INVALID', 'the fallback of fd:// cannot be fd://');
  return listenAt(address, options, onConnection);
}

function serverCredentials({ authority, certificate, key }: Tls): ServerCredentials {
  return ServerCredentials.createSsl(authority, [{ cert_chain: certificate, private_key: key }], true);
}

interface Running {
  readonly server: Server;
  readonly sockets: SocketServer;
  readonly connections: ReadonlySet<Socket>;
  readonly shared: Disposable | undefined;
  readonly health: Health;
  readonly graceMs: number;
}

/** The server says goodbye on every connection; each closes with its last call. The library's own promise of that comes too early. */
async function shutDown({ server, sockets, connections, shared, health, graceMs }: Running): Promise<void> {
  health.close();
  const drained = new Promise<void>((resolve) => sockets.close(() => resolve()));
  server.tryShutdown(() => undefined);
  const grace = setTimeout(() => {
    server.forceShutdown();
    for (const connection of connections) connection.destroy();
  }, graceMs);
  await drained;
  clearTimeout(grace);
  shared?.[Symbol.dispose]();
}
