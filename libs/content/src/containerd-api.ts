import { content, images, introspection, leases, type CallOptions, type ServiceClient } from '@soci/proto';
import { hasCode } from '@soci/errors';
import { ContentError } from './errors.ts';

/** The services of containerd that the stores call. Namespace and deadlines are the channel's business. */
export interface ContainerdApi {
  readonly content: ServiceClient<typeof content.ContentService>;
  readonly images: ServiceClient<typeof images.ImagesService>;
  readonly leases: ServiceClient<typeof leases.LeasesService>;
  readonly introspection: ServiceClient<typeof introspection.IntrospectionService>;
}

/** @param channel to containerd, with the header that names the namespace */
export function containerdApi(channel: { client<Service extends object>(service: Service): ServiceClient<Service> }): ContainerdApi {
  return {
    content: channel.client(content.ContentService),
    images: channel.client(images.ImagesService),
    leases: channel.client(leases.LeasesService),
    introspection: channel.client(introspection.IntrospectionService),
  };
}

/** Names the lease that takes in what a call makes. */
const LEASE_HEADER = 'containerd-lease';

export function callOptions(signal: AbortSignal, leaseId: string | undefined): CallOptions {
  return leaseId === undefined ? { signal } : { signal, headers: { [LEASE_HEADER]: leaseId } };
}

/** A gRPC error as one of ours. What ended because the caller gave up stays as it is. @param what the thing and the action, for the message */
export function fromContainerd(what: string, cause: unknown, signal: AbortSignal): Error {
  if (cause instanceof ContentError) return cause;
  if (signal.aborted) return signal.reason as Error;
  if (hasCode(cause, 'NOT_FOUND')) return new ContentError('NOT_FOUND', what, { cause });
  const isAway = hasCode(cause, 'UNAVAILABLE', 'DEADLINE_EXCEEDED');
  return new ContentError(isAway ? 'UNAVAILABLE' : 'STORE_BROKEN', isAway ? `${what}: containerd does not answer` : what, { cause });
}
