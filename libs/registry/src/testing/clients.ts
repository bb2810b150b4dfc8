import type { TestContext } from 'node:test';
import { ImageReference, sha256Digest } from '@soci/image';
import type { Answer, Credential, CredentialSource, Lookup } from '@soci/keychain';
import { collectLogs } from '@soci/log';
import { RegistryClient, type RegistryClientOptions } from '../registry-client.ts';

/** Short times, so that a test of a limit is quick. */
export const QUICK = {
  dialTimeoutMs: 500,
  responseHeaderTimeoutMs: 300,
  bodyStallTimeoutMs: 300,
  requestTimeoutMs: 5_000,
  maxRetries: 3,
  minWaitMs: 1,
  maxWaitMs: 20,
};

export const signal = new AbortController().signal;

export function client(
  t: TestContext,
  options: Partial<RegistryClientOptions> = {},
): { readonly client: RegistryClient; readonly lines: readonly string[] } {
  const { log, lines } = collectLogs();
  const made = new RegistryClient({ credentials: sourceOf(), log, ...options, http: { ...QUICK, ...options.http } });
  t.after(() => made[Symbol.asyncDispose]());
  return { client: made, lines };
}

export interface CountingSource extends CredentialSource {
  readonly lookups: readonly Lookup[];
}

/** Gives these credentials, whoever asks; none when there are none. */
export function sourceOf(...credentials: Credential[]): CountingSource {
  const lookups: Lookup[] = [];
  const answer: Answer =
    credentials.length === 0
      ? { kind: 'none' }
      : { kind: 'candidates', source: 'docker-config', candidates: credentials.map((credential) => ({ credential, entry: 'test' })) };
  return {
    name: 'docker-config',
    lookups,
    resolve: (lookup) => {
      lookups.push(lookup);
      return Promise.resolve(answer);
    },
  };
}

export function referenceTo(host: string, repository = 'team/app', tag = '1.0'): ImageReference {
  return new ImageReference({ host, repository, tag });
}

/** Bytes without a pattern that a shift would hide. */
export function blobOf(length: number): { readonly bytes: Buffer; readonly digest: string } {
  const bytes = Buffer.alloc(length);
  for (let i = 0, x = 1; i < length; i++) {
    x = (x * 1103515245 + 12345) & 0x7fffffff;
    bytes[i] = x >> 16;
  }
  return { bytes, digest: sha256Digest(bytes) };
}

export async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(chunks));
}
