import { ANONYMOUS, originOf, type Answer, type Credential, type CredentialSource } from '@soci/keychain';
import type { Errand } from './authenticator.ts';
import { RegistryError } from './errors.ts';

/** A credential, and for messages where it came from. */
export interface Found {
  readonly credential: Credential;
  readonly origin: string;
}

/**
 * Asks the sources. One that is not ready is an error, never the same as none; whether to wait for it is for whoever asks the registry to decide.
 * @throws {RegistryError} `CREDENTIALS_NOT_READY`, `CREDENTIALS_FAILED`
 */
export async function lookUpCredentials(
  source: CredentialSource,
  { host, reference, namespaces }: Errand,
  signal: AbortSignal,
): Promise<readonly Found[]> {
  let answer: Answer;
  try {
    answer = await source.resolve({ host, reference, namespaces }, signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw new RegistryError('CREDENTIALS_FAILED', `credential for ${host}`, { cause });
  }
  switch (answer.kind) {
    case 'not-ready':
      throw new RegistryError('CREDENTIALS_NOT_READY', `credential for ${host}: ${answer.reason}`);
    case 'none':
      return [{ credential: ANONYMOUS, origin: `no credential (${answer.reason ?? `asked: ${source.name}`})` }];
    case 'candidates': {
      const { source: name, candidates } = answer;
      return candidates.map((candidate) => ({ credential: candidate.credential, origin: originOf(name, candidate) }));
    }
  }
}
