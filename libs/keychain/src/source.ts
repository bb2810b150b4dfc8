import type { ImageReference } from '@soci/image';
import type { Credential } from './credential.ts';

/** What is to be read, and for whom. */
export interface Lookup {
  /** Registry authority of the URL being asked, lower case, with port if any: `registry.example.com:5000`. */
  readonly host: string;
  readonly reference: ImageReference;
  /** Kubernetes namespaces that pulled this reference; empty when unknown. */
  readonly namespaces: readonly string[];
}

export type Answer =
  | { readonly kind: 'none' } // the next source may try
  | Candidates
  | { readonly kind: 'not-ready'; readonly reason: string }; // ask again later; never the same as anonymous

/** Credentials of one source. When the registry refuses them all, no other source is asked. */
export interface Candidates {
  readonly kind: 'candidates';
  /** Best first, at least one. */
  readonly credentials: readonly Credential[];
  /** Which source gave them, and which entry of it, for messages: `docker-config (registry.example.com in /root/.docker/config.json)`. */
  readonly origin: string;
}

/** A way to find credentials for a registry. */
export interface CredentialSource {
  /** Name for logs and metrics, e.g. `docker-config`. */
  readonly name: string;

  /** @throws {KeychainError} when this source is configured for the host and failed (helper missing, timed out): the search stops */
  resolve(lookup: Lookup, signal: AbortSignal): Promise<Answer>;
}

export const NONE: Answer = Object.freeze({ kind: 'none' });
