import type { Codec } from '@soci/bus';
import { ANONYMOUS, type Answer, type Candidate, type Credential, type KeychainErrorCode, Secret } from '@soci/keychain';
import { credentials } from '@soci/proto';
import { fromPosition, invalid, toPosition } from './messages.ts';
import type { FailedAnswer, LookupReply } from './methods.ts';

const MAX_CANDIDATES = 16;
const FAILURES: readonly string[] = [
  'HELPER_MISSING',
  'HELPER_FAILED',
  'HELPER_TIMEOUT',
  'SOURCE_UNTRUSTED',
  'CONFIG_INVALID',
  'USER_INVALID',
] satisfies KeychainErrorCode[];

/** @param source name for the candidates that are read */
export function lookupReplyCodec(source: string): Codec<LookupReply> {
  return {
    encode({ position, answer, ids }) {
      const message = { position: fromPosition(position), ...toWire(answer, ids) };
      return credentials.LookupResponse.encode(message).finish();
    },
    decode(bytes) {
      const message = credentials.LookupResponse.decode(bytes);
      try {
        return { position: toPosition(message.position), ...fromWire(message, source) };
      } finally {
        for (const candidate of message.candidates?.candidates ?? []) wipe(candidate);
      }
    },
  };
}

type WireAnswer = Omit<credentials.LookupResponse, 'position'>;

function toWire(answer: Answer | FailedAnswer, ids: readonly string[]): WireAnswer {
  switch (answer.kind) {
    case 'candidates':
      return { candidates: { candidates: answer.candidates.map((candidate, i) => toWireCandidate(candidate, ids[i] ?? '')) } };
    case 'none':
      return { nothing: { reason: answer.reason ?? '' } };
    case 'not-ready':
      return { notReady: { reason: answer.reason } };
    case 'failed':
      return { failed: { code: answer.code, message: answer.message } };
  }
}

function fromWire(message: WireAnswer, source: string): Omit<LookupReply, 'position'> {
  const { candidates, nothing, notReady, failed } = message;
  if (candidates !== undefined) {
    const all = candidates.candidates;
    if (all.length === 0 || all.length > MAX_CANDIDATES || all.some(({ id }) => id === '')) throw invalid('candidates');
    return { answer: { kind: 'candidates', source, candidates: all.map(fromWireCandidate) }, ids: all.map(({ id }) => id) };
  }
  if (nothing !== undefined) return { answer: { kind: 'none', ...(nothing.reason === '' ? {} : { reason: nothing.reason }) }, ids: [] };
  if (notReady !== undefined) return { answer: { kind: 'not-ready', reason: notReady.reason }, ids: [] };
  if (failed !== undefined) return { answer: { kind: 'failed', code: toCode(failed.code), message: failed.message }, ids: [] };
  throw invalid('answer');
}

function toWireCandidate({ credential, entry, sinceMs }: Candidate, id: string): credentials.Candidate {
  return { id, entry, sinceMs: BigInt(Math.round(sinceMs ?? 0)), ...toWireCredential(credential) };
}

/** The bytes are the secret's own and are only read: what they are written into is overwritten once it is sealed. */
function toWireCredential(credential: Credential): Partial<credentials.Candidate> {
  switch (credential.kind) {
    case 'basic':
      return { basic: { username: credential.username, password: view(credential.password) } };
    case 'identity_token':
      return { identityToken: view(credential.token) };
    case 'registry_token':
      return { registryToken: view(credential.token) };
    case 'anonymous':
      return { anonymous: {} };
  }
}

function fromWireCandidate(candidate: credentials.Candidate): Candidate {
  const sinceMs = Number(candidate.sinceMs);
  return { credential: fromWireCredential(candidate), entry: candidate.entry, ...(sinceMs === 0 ? {} : { sinceMs }) };
}

function fromWireCredential({ basic, identityToken, registryToken, anonymous }: credentials.Candidate): Credential {
  if (basic !== undefined) return { kind: 'basic', username: basic.username, password: Secret.of(basic.password) };
  if (identityToken !== undefined) return { kind: 'identity_token', token: Secret.of(identityToken) };
  if (registryToken !== undefined) return { kind: 'registry_token', token: Secret.of(registryToken) };
  if (anonymous !== undefined) return ANONYMOUS;
  throw invalid('credential');
}

function view(secret: Secret): Buffer {
  const bytes = secret.revealBytes();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function wipe({ basic, identityToken, registryToken }: credentials.Candidate): void {
  for (const secret of [basic?.password, identityToken, registryToken]) secret?.fill(0);
}

function toCode(code: string): KeychainErrorCode {
  return FAILURES.includes(code) ? (code as KeychainErrorCode) : 'HELPER_FAILED';
}
