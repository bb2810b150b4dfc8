import { RpcError } from './errors.ts';

/** Where a server listens or a client connects. */
export type Address =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'activation' };

/** `sun_path` of Linux, without the closing NUL. */
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Reads an address as the Go snapshotter does: `unix://` or a bare path, `fd://` for socket activation; besides these `tcp://host:port`, which needs TLS.
 * @throws {RpcError} `ADDRESS_INVALID`
 */
export function parseAddress(text: string): Address {
  const match = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/s.exec(text);
  if (match === null) return unixAddress(text, text);
  const [, scheme, rest = ''] = match;
  if (scheme === 'unix') return unixAddress(rest, text);
  if (scheme === 'tcp') return tcpAddress(rest, text);
  if (scheme === 'fd' && rest === '') return { kind: 'activation' };
  throw new RpcError('ADDRESS_INVALID', `address ${text}: expected a path, unix://path, tcp://host:port or fd://`);
}

function unixAddress(path: string, text: string): Address {
  if (path === '' || path.includes('\0')) throw new RpcError('ADDRESS_INVALID', `address ${JSON.stringify(text)}: no path`);
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new RpcError('ADDRESS_INVALID', `address ${text}: a socket path has at most ${MAX_SOCKET_PATH_BYTES} bytes`);
  }
  return { kind: 'unix', path };
}

function tcpAddress(hostAndPort: string, text: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/]+)):(\d{1,5})$/.exec(hostAndPort);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || !(port <= 65_535)) throw new RpcError('ADDRESS_INVALID', `address ${text}: expected tcp://host:port`);
  return { kind: 'tcp', host, port };
}
