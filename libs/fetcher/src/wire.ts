import { describeError } from '@soci/errors';
import type { Descriptor } from '@soci/image';
import type { FetchPriority } from '@soci/layer';
import { fetch as api } from '@soci/proto';
import { FetcherError, fetcherErrorCode, toFetcherErrorCode } from './errors.ts';
import type { IndexOrigin, PulledImage } from './image-fetcher.ts';

/** Artifacts that one message releases at most. */
export const MAX_RELEASED = 10_000;

export function toWireImage({ reference, namespaces }: { readonly reference: string; readonly namespaces?: readonly string[] }): api.Image {
  return { reference, namespaces: [...(namespaces ?? [])] };
}

/** @throws {FetcherError} `REQUEST_INVALID` when the message has none */
export function fromWireImage(image: api.Image | undefined): PulledImage {
  if (image === undefined) throw new FetcherError('REQUEST_INVALID', 'request names no image');
  return { reference: image.reference, namespaces: image.namespaces };
}

export function toWireDescriptor({
  mediaType,
  digest,
  size,
  annotations,
}: Pick<Descriptor, 'digest' | 'size'> & Partial<Descriptor>): api.Descriptor {
  return { mediaType: mediaType ?? '', digest, size: BigInt(size), annotations: { ...annotations } };
}

/** @throws {FetcherError} `REQUEST_INVALID` when the message has none, or its size is none */
export function fromWireDescriptor(descriptor: api.Descriptor | undefined): Descriptor {
  if (descriptor === undefined) throw new FetcherError('REQUEST_INVALID', 'message lacks a descriptor');
  const { mediaType, digest, annotations } = descriptor;
  return { mediaType, digest, size: toNumber(descriptor.size, 'size'), ...(Object.keys(annotations).length === 0 ? {} : { annotations }) };
}

export function toNumber(value: bigint, what: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0) throw new FetcherError('REQUEST_INVALID', `${what} ${value}: out of range`);
  return number;
}

export function toFailure(error: unknown): api.Failure {
  return { code: fetcherErrorCode(error), message: describeError(error) };
}

export function fromFailure({ code, message }: api.Failure): FetcherError {
  return new FetcherError(toFetcherErrorCode(code), message);
}

const PRIORITIES: readonly (readonly [FetchPriority, api.Priority])[] = [
  ['demand', api.Priority.DEMAND],
  ['read-ahead', api.Priority.READ_AHEAD],
  ['fill', api.Priority.FILL],
];

export function toWirePriority(priority: FetchPriority): api.Priority {
  return PRIORITIES.find(([ours]) => ours === priority)?.[1] ?? api.Priority.UNSPECIFIED;
}

export function fromWirePriority(priority: api.Priority): FetchPriority {
  return PRIORITIES.find(([, theirs]) => theirs === priority)?.[0] ?? 'demand';
}

const ORIGINS: readonly (readonly [IndexOrigin, api.IndexOrigin])[] = [
  ['label', api.IndexOrigin.LABEL],
  ['annotation', api.IndexOrigin.ANNOTATION],
  ['referrers', api.IndexOrigin.REFERRERS],
];

export function toWireOrigin(origin: IndexOrigin): api.IndexOrigin {
  return ORIGINS.find(([ours]) => ours === origin)?.[1] ?? api.IndexOrigin.UNSPECIFIED;
}

export function fromWireOrigin(origin: api.IndexOrigin): IndexOrigin {
  return ORIGINS.find(([, theirs]) => theirs === origin)?.[0] ?? 'label';
}
