import { protoCodec, type Method, type ServiceName, type Topic } from '@soci/bus';
import type { ImageReference } from '@soci/image';
import type { Answer, KeychainErrorCode, Lookup } from '@soci/keychain';
import { credentials } from '@soci/proto';
import { lookupReplyCodec } from './lookup-reply.ts';
import { lookupRequestCodec, namespacesReplyCodec, namespacesRequestCodec } from './messages.ts';

/** Services that have credentials. */
export type LookupService = Extract<ServiceName, 'cri-proxy' | 'secret-syncer'>;

/** Where a service stands: which start of it, and how many changes it has told since. */
export interface Position {
  readonly instance: string;
  readonly sequence: number;
}

export interface LookupRequest extends Lookup {
  /** Ids of candidates that a registry did not take. */
  readonly refused: readonly string[];
}

/** The source is meant for the host, and failed. */
export interface FailedAnswer {
  readonly kind: 'failed';
  readonly code: KeychainErrorCode;
  readonly message: string;
}

export interface LookupReply {
  readonly position: Position;
  readonly answer: Answer | FailedAnswer;
  /** One for each candidate, in their order: names it in what is told later. */
  readonly ids: readonly string[];
}

/** Namespaces of the pods that pulled an image. */
export interface Pulls {
  readonly runningOrSucceeded: readonly string[];
  readonly succeeded: readonly string[];
}

const NOBODY_IN_PARTICULAR = { reference: '', host: '', namespaces: [] };

/** Which source a service serves. */
export const SOURCE_OF: Readonly<Record<LookupService, string>> = { 'cri-proxy': 'cri', 'secret-syncer': 'kubernetes-secrets' };

export function lookupMethod(service: LookupService): Method<LookupRequest, LookupReply> {
  return {
    service,
    name: 'lookup',
    request: lookupRequestCodec,
    answer: lookupReplyCodec(SOURCE_OF[service]),
    boundTo: ({ reference, host, namespaces }) => ({ reference: reference.canonical(), host, namespaces }),
  };
}

export const namespacesMethod: Method<readonly ImageReference[], readonly Pulls[]> = {
  service: 'cri-proxy',
  name: 'namespaces',
  request: namespacesRequestCodec,
  answer: namespacesReplyCodec,
  boundTo: () => NOBODY_IN_PARTICULAR,
};

export function stateMethod(service: LookupService): Method<credentials.GetStateRequest, credentials.GetStateResponse> {
  return { service, name: 'state', request: protoCodec(credentials.GetStateRequest), answer: protoCodec(credentials.GetStateResponse) };
}

export function changedTopic(service: LookupService): Topic<credentials.SourceChanged> {
  return { service, name: 'changed', event: protoCodec(credentials.SourceChanged) };
}
