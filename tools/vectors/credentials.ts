import { basic, identityToken, registryToken, ANONYMOUS, type Answer, type Credential } from '@soci/keychain';
import { z } from 'zod';
import type { Outcome } from './row.ts';

export const credentialSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('basic'), username: z.string(), password: z.string() }),
  z.object({ kind: z.literal('identity_token'), token: z.string() }),
  z.object({ kind: z.literal('registry_token'), token: z.string() }),
  z.object({ kind: z.literal('anonymous') }),
]);

export function toCredential(described: z.infer<typeof credentialSchema>): Credential {
  switch (described.kind) {
    case 'basic':
      return basic(described.username, described.password);
    case 'identity_token':
      return identityToken(described.token);
    case 'registry_token':
      return registryToken(described.token);
    case 'anonymous':
      return ANONYMOUS;
  }
}

/** An answer in the terms of an expectation. Rows hold invented secrets, which may be shown. */
export function describeAnswer(answer: Answer): Outcome {
  if (answer.kind === 'not-ready') return { kind: 'not_ready' };
  const [first, ...rest] = answer.kind === 'none' ? [ANONYMOUS] : answer.candidates.map(({ credential }) => credential);
  if (first === undefined) return { kind: 'anonymous' };
  if (rest.length > 0) return { kind: 'candidates', list: [first, ...rest].map(describeCredential) };
  return describeCredential(first);
}

export function describeCredential(credential: Credential): Outcome {
  switch (credential.kind) {
    case 'basic':
      return { kind: 'basic', username: credential.username, password: credential.password.reveal() };
    case 'anonymous':
      return { kind: 'anonymous' };
    default:
      return { kind: credential.kind, token: credential.token.reveal() };
  }
}
