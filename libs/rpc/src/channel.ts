import { Client, credentials, Metadata, type CallOptions as GrpcCallOptions, type ServiceError } from '@grpc/grpc-js';
import type { CallOptions, DuplexCall, ServiceClient } from '@soci/proto';
import { parseAddress } from './address.ts';
import { duplex } from './duplex.ts';
import { RpcError } from './errors.ts';
import { fromStatus } from './status.ts';
import type { Tls } from './tls.ts';

export interface ChannelOptions {
  /** `unix://path`, a bare path or `tcp://host:port`. */
  readonly address: string;
  /** Needed for TCP. */
  readonly tls?: Tls;
  /** Sent with every call, names in lower case: `{ 'containerd-namespace': 'k8s.io' }`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** What a call may take when it does not say so itself. */
  readonly deadlineMs?: number;
}

/** A connection to one server, made when it is first used and made again when it breaks. */
export interface Channel extends Disposable {
  readonly address: string;
  /** @param service a generated definition, e.g. `snapshots.SnapshotsService` */
  client<Service extends object>(service: Service): ServiceClient<Service>;
  /** The same connection with further headers. Disposing of it does nothing: the first owner does. */
  withHeaders(headers: Readonly<Record<string, string>>): Channel;
}

const DEFAULT_DEADLINE_MS = 60_000;
/** containerd's and the kubelet's limit for what a client receives. */
const MAX_RESPONSE_BYTES = 16 << 20;
const FLOW_CONTROL_WINDOW_BYTES = 1 << 20;
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;
const MAX_RECONNECT_MS = 3_000;

/** @throws {RpcError} `ADDRESS_INVALID` */
export function openChannel(options: ChannelOptions): Channel {
  const { tls } = options;
  const address = parseAddress(options.address);
  if (address.kind === 'activation') throw new RpcError('ADDRESS_INVALID', 'a client cannot connect to fd://');
  if (address.kind === 'tcp' && tls === undefined) throw new RpcError('ADDRESS_INVALID', `connect to ${options.address}: TCP needs TLS`);
  const isLocal = address.kind === 'unix';
  const client = new Client(
    isLocal ? `unix:${address.path}` : `dns:${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`,
    isLocal || tls === undefined ? credentials.createInsecure() : credentials.createSsl(tls.authority, tls.key, tls.certificate),
    {
      'grpc.max_receive_message_length': MAX_RESPONSE_BYTES,
      'grpc.max_send_message_length': -1,
      'grpc.max_reconnect_backoff_ms': MAX_RECONNECT_MS,
      'grpc.enable_channelz': 0,
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
      // A dead peer on the same machine closes its socket; pings over it only make grpc-go servers complain of too many.
      ...(isLocal ? {} : { 'grpc.keepalive_time_ms': KEEPALIVE_MS, 'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS }),
    },
  );
  return new GrpcChannel(client, options, () => client.close());
}

/** What a generated definition holds for one method. */
interface Method {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (value: unknown) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => unknown;
}

class GrpcChannel implements Channel {
  readonly address: string;
  readonly #grpc: Client;
  readonly #options: ChannelOptions;
  readonly #close: () => void;

  constructor(grpc: Client, options: ChannelOptions, close: () => void) {
    this.address = options.address;
    this.#grpc = grpc;
    this.#options = options;
    this.#close = close;
  }

  client<Service extends object>(service: Service): ServiceClient<Service> {
    const methods = Object.entries(service).map(([name, method]) => [name, this.#method(method as Method)]);
    return Object.fromEntries(methods) as ServiceClient<Service>;
  }

  withHeaders(headers: Readonly<Record<string, string>>): Channel {
    return new GrpcChannel(this.#grpc, { ...this.#options, headers: { ...this.#options.headers, ...headers } }, () => undefined);
  }

  [Symbol.dispose](): void {
    this.#close();
  }

  #method(method: Method): unknown {
    if (method.requestStream) return (options: CallOptions) => this.#duplex(method, options);
    if (method.responseStream) return (request: unknown, options: CallOptions) => this.#stream(method, request, options);
    return (request: unknown, options: CallOptions) => this.#unary(method, request, options);
  }

  #unary(method: Method, request: unknown, options: CallOptions): Promise<unknown> {
    const { signal } = options;
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const { metadata, callOptions } = this.#prepare(options);
      const done = (error: ServiceError | null, response?: unknown): void => {
        signal.removeEventListener('abort', cancel);
        if (error === null) resolve(response);
        else reject(signal.aborted ? (signal.reason as Error) : fromStatus(error));
      };
      const call = this.#grpc.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        metadata,
        callOptions,
        done,
      );
      const cancel = (): void => call.cancel();
      signal.addEventListener('abort', cancel);
    });
  }

  async *#stream(method: Method, request: unknown, options: CallOptions): AsyncGenerator {
    const { signal } = options;
    signal.throwIfAborted();
    const { metadata, callOptions } = this.#prepare(options);
    const call = this.#grpc.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      metadata,
      callOptions,
    );
    const cancel = (): void => call.cancel();
    signal.addEventListener('abort', cancel);
    try {
      for await (const response of call) yield response;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw fromStatus(error as ServiceError);
    } finally {
      signal.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  #duplex(method: Method, options: CallOptions): DuplexCall<unknown, unknown> {
    options.signal.throwIfAborted();
    const { metadata, callOptions } = this.#prepare(options);
    return duplex(
      this.#grpc.makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize, metadata, callOptions),
      options.signal,
    );
  }

  #prepare({ headers, deadlineMs = this.#options.deadlineMs ?? DEFAULT_DEADLINE_MS }: CallOptions): {
    metadata: Metadata;
    callOptions: GrpcCallOptions;
  } {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries({ ...this.#options.headers, ...headers })) metadata.set(name, value);
    return { metadata, callOptions: deadlineMs === Infinity ? {} : { deadline: Date.now() + deadlineMs } };
  }
}
