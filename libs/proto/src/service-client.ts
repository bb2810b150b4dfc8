import type { UnaryCall, StreamCall, DuplexCall, CallOptions } from './call.ts';

interface Method {
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestSerialize: (value: never) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => unknown;
}

type RequestOf<M extends Method> = Parameters<M['requestSerialize']>[0];
type ResponseOf<M extends Method> = ReturnType<M['responseDeserialize']>;

/**
 * The methods of a generated service definition as a caller sees them: promises for one answer, async iterables for many.
 * A lib that calls a service takes this type; who composes it makes one from a channel.
 */
export type ServiceClient<Service> = {
  readonly [Name in keyof Service]: Service[Name] extends Method
    ? Service[Name]['requestStream'] extends true
      ? (options: CallOptions) => DuplexCall<RequestOf<Service[Name]>, ResponseOf<Service[Name]>>
      : Service[Name]['responseStream'] extends true
        ? StreamCall<RequestOf<Service[Name]>, ResponseOf<Service[Name]>>
        : UnaryCall<RequestOf<Service[Name]>, ResponseOf<Service[Name]>>
    : never;
};
