export { parseAddress, type Address } from './address.ts';
export { openChannel, type Channel, type ChannelOptions } from './channel.ts';
export { RpcError, type RpcErrorCode, type StatusName } from './errors.ts';
export {
  implement,
  NAMESPACE_HEADER,
  streamHandler,
  unaryHandler,
  type CallContext,
  type Handlers,
  type ServiceImplementation,
  type StreamHandler,
  type UnaryHandler,
} from './handlers.ts';
export { Health } from './health.ts';
export { listenUnix, type UnixListenOptions } from './listen.ts';
export type { PassThrough } from './pass-through.ts';
export { serveGrpc, type GrpcServer, type ServeOptions } from './server.ts';
export { activatedSocket } from './socket-activation.ts';
export { fromStatus, toStatus } from './status.ts';
export { readTls, type Tls } from './tls.ts';
