import type { Codec } from '@soci/bus';
import { parseReference, type ImageReference } from '@soci/image';
import { credentials } from '@soci/proto';
import { LookupError } from './errors.ts';
import type { LookupRequest, Position, Pulls } from './methods.ts';

const MAX_HOST_LENGTH = 300;
const MAX_NAMESPACES = 256;
const MAX_NAMESPACE_LENGTH = 253;
const MAX_REFUSED = 64;
const MAX_ID_LENGTH = 64;
/** References of one request for namespaces. */
export const MAX_REFERENCES = 64;

export const lookupRequestCodec: Codec<LookupRequest> = {
  encode: ({ host, reference, namespaces, refused }) =>
    credentials.LookupRequest.encode({
      host,
      reference: reference.canonical(),
      namespaces: [...namespaces],
      refused: [...refused],
    }).finish(),
  decode(bytes) {
    const { host, reference, namespaces, refused } = credentials.LookupRequest.decode(bytes);
    if (host === '' || host.length > MAX_HOST_LENGTH) throw invalid('host');
    if (!areShort(namespaces, MAX_NAMESPACES, MAX_NAMESPACE_LENGTH)) throw invalid('namespaces');
    if (!areShort(refused, MAX_REFUSED, MAX_ID_LENGTH)) throw invalid('ids');
    return { host, reference: parseReference(reference), namespaces, refused };
  },
};

export const namespacesRequestCodec: Codec<readonly ImageReference[]> = {
  encode: (references) =>
    credentials.FindNamespacesRequest.encode({ references: references.map((reference) => reference.canonical()) }).finish(),
  decode(bytes) {
    const { references } = credentials.FindNamespacesRequest.decode(bytes);
    if (references.length > MAX_REFERENCES) throw invalid('references');
    return references.map(parseReference);
  },
};

export const namespacesReplyCodec: Codec<readonly Pulls[]> = {
  encode: (pulls) =>
    credentials.FindNamespacesResponse.encode({
      pulls: pulls.map(({ runningOrSucceeded, succeeded }) => ({
        runningOrSucceeded: [...runningOrSucceeded],
        succeeded: [...succeeded],
      })),
    }).finish(),
  decode: (bytes) => credentials.FindNamespacesResponse.decode(bytes).pulls,
};

/** @throws {LookupError} `INVALID` when there is none */
export function toPosition(position: credentials.Position | undefined): Position {
  if (position === undefined || position.instance === '' || position.instance.length > MAX_ID_LENGTH) throw invalid('position');
  return { instance: position.instance, sequence: Number(position.sequence) };
}

export function fromPosition({ instance, sequence }: Position): credentials.Position {
  return { instance, sequence: BigInt(sequence) };
}

export function invalid(what: string): LookupError {
  return new LookupError('INVALID', `message about credentials: no such ${what}`);
}

function areShort(texts: readonly string[], maxCount: number, maxLength: number): boolean {
  return texts.length <= maxCount && texts.every((text) => text.length <= maxLength);
}
