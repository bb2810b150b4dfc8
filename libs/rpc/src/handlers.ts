import type {
  handleServerStreamingCall,
  handleUnaryCall,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { RpcError } from './errors.ts';
import { toStatus } from './status.ts';

/** Header in which containerd and its clients name the namespace that a call is about. */
export const NAMESPACE_HEADER = 'containerd-namespace';

/** What a handler learns about its call besides the message. */
export interface CallContext {
  /** Aborted when the caller cancels or goes away, when the deadline is over, and when the server stops without waiting any longer. */
  readonly signal: AbortSignal;
  /** When the caller stops waiting; undefined when it waits for ever. */
  readonly deadline: Date | undefined;
  /** The caller's containerd namespace, if it said one. */
  readonly namespace: string | undefined;
  /** First value of a header; names are lower case. */
  header(name: string): string | undefined;
}

export type UnaryHandler<Request, Response> = (request: Request, call: CallContext) => Promise<Response>;
export type StreamHandler<Request, Response> = (request: Request, call: CallContext) => AsyncIterable<Response>;

/** Makes an async function answer a unary method: its result is the response, what it throws becomes the status. */
export function unaryHandler<Request, Response>(handle: UnaryHandler<Request, Response>): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const context = contextOf(call);
    // The callback ends the call either way; one that was cancelled meanwhile is gone, and grpc drops the answer.
    Promise.try(handle, call.request, context).then(
      (response) => callback(null, response),
      (error: unknown) => callback(toStatus(error)),
    );
  };
}

/**
 * Makes an async generator answer a server-streaming method. The generator is asked for its next message when the transport has taken
 * all but one of those before, so that large messages do not pile up in memory.
 */
export function streamHandler<Request, Response>(handle: StreamHandler<Request, Response>): handleServerStreamingCall<Request, Response> {
  return (call) => {
    const context = contextOf(call);
    const run = async (): Promise<void> => {
      let last: Promise<void> | undefined;
      for await (const response of handle(call.request, context)) {
        await last;
        if (context.signal.aborted) return;
        last = written(call, response, context.signal);
      }
      await last;
    };
    run().then(
      () => call.end(),
      (error: unknown) => call.emit('error', toStatus(error)),
    );
  };
}

interface AnyMethod {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
  readonly responseSerialize: (value: never) => Buffer;
}

type RequestOf<M extends AnyMethod> = ReturnType<M['requestDeserialize']>;
type ResponseOf<M extends AnyMethod> = Parameters<M['responseSerialize']>[0];

/** One handler for each method of a generated service definition: an async function, or an async generator where it streams. */
export type Handlers<Service extends Record<string, AnyMethod>> = {
  readonly [Name in keyof Service]: Service[Name]['responseStream'] extends true
    ? StreamHandler<RequestOf<Service[Name]>, ResponseOf<Service[Name]>>
    : UnaryHandler<RequestOf<Service[Name]>, ResponseOf<Service[Name]>>;
};

/** A service that a server can serve. */
export interface ServiceImplementation {
  /** Full name, e.g. `containerd.services.snapshots.v1.Snapshots`. */
  readonly name: string;
  readonly definition: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
}

/** Binds handlers to a generated service definition. Methods in which the client streams are not offered. */
export function implement<Service extends Record<string, AnyMethod>>(
  definition: Service,
  handlers: Handlers<Service>,
): ServiceImplementation {
  const entries = Object.entries(definition).map(([name, method]) => {
    const handle = handlers[name];
    return [
      name,
      method.responseStream
        ? streamHandler(handle as StreamHandler<unknown, unknown>)
        : unaryHandler(handle as UnaryHandler<unknown, unknown>),
    ];
  });
  const [first] = Object.values(definition);
  return {
    name: first?.path.split('/')[1] ?? '',
    definition: definition as unknown as ServiceDefinition,
    handlers: Object.fromEntries(entries) as UntypedServiceImplementation,
  };
}

function contextOf(call: ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>): CallContext {
  const controller = new AbortController();
  const deadline = call.getDeadline();
  call.once('cancelled', () => {
    const isOver = deadline !== Infinity && Number(deadline) <= Date.now();
    controller.abort(
      isOver ? new RpcError('DEADLINE_EXCEEDED', 'deadline of the call is over') : new RpcError('CANCELLED', 'call was cancelled'),
    );
  });
  const header = (name: string): string | undefined => {
    const [value] = call.metadata.get(name);
    return typeof value === 'string' ? value : undefined;
  };
  return {
    signal: controller.signal,
    deadline: deadline === Infinity ? undefined : new Date(deadline),
    get namespace() {
      return header(NAMESPACE_HEADER);
    },
    header,
  };
}

function written(call: ServerWritableStream<unknown, unknown>, response: unknown, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      signal.removeEventListener('abort', finish);
      resolve();
    };
    signal.addEventListener('abort', finish);
    call.write(response, finish);
  });
}
