import type { ImageReference } from '@soci/image';
import { fingerprint, type Credential } from './credential.ts';

/** What is to be read, and for whom. */
export interface Lookup {
  /** Registry authority of the URL being asked, lower case, with port if any: `registry.example.com:5000`. */
  readonly host: string;
  readonly reference: ImageReference;
  /** Kubernetes namespaces that pulled this reference; empty when unknown. */
  readonly namespaces: readonly string[];
}

export type Answer =
  | { readonly kind: 'none'; readonly reason?: string } // the next source may try; why, in a line
  | Candidates
  | { readonly kind: 'not-ready'; readonly reason: string }; // ask again later; never the same as anonymous

/** Credentials of one source. When the registry refuses them all, no other source is asked. */
export interface Candidates {
  readonly kind: 'candidates';
  /** Name of the source they come from. */
  readonly source: string;
  /** Best first, at least one. */
  readonly candidates: readonly Candidate[];
}

export interface Candidate {
  readonly credential: Credential;
  /** Where in its source it stands, for messages: `registry.example.com in /root/.docker/config.json`, `secret team-a/pull`. */
  readonly entry: string;
  /** When the source got it, in milliseconds of the wall clock; left out where the source reads it afresh at every look-up. */
  readonly sinceMs?: number;
}

/** Something in a source is no longer as it was. */
export interface SourceChange {
  readonly source: string;
  /** Registry hosts, as in `Lookup.host`, for which another look-up is worth while; left out: any. */
  readonly hosts?: readonly string[];
  /** Fingerprints of credentials the source gives no more: what was made from them is to be dropped, and nothing else. */
  readonly withdrawn: readonly string[];
}

/** A way to find credentials for a registry. */
export interface CredentialSource {
  /** Name for logs and metrics, e.g. `docker-config`. */
  readonly name: string;

  /** @throws {KeychainError} when this source is configured for the host and failed (helper missing, timed out): the search stops */
  resolve(lookup: Lookup, signal: AbortSignal): Promise<Answer>;

  /**
   * A registry did not take this credential (the login itself, not a token that ran out). What the source keeps of it is not given again before it was asked for anew.
   *
   * @returns whether a look-up made now may give something else. Sources that keep nothing leave it out: each look-up of theirs is anew
   */
  refused?(fingerprint: string): boolean;

  /** Calls back after every change, until disposed of. Sources that never change leave it out. */
  onChange?(listener: (change: SourceChange) => void): Disposable;
}

/** For messages: source and entry, `docker-config (registry.example.com in /root/.docker/config.json)`. */
export function originOf(source: string, { entry }: Candidate): string {
  return `${source} (${entry})`;
}

/** This source has nothing. The reason is for people and holds no secret. */
export function none(reason: string): Answer {
  return { kind: 'none', reason };
}

/** How many logins of one answer are worth showing a registry: a hundred wrong ones lock an account. */
export const MAX_CANDIDATES = 5;

/** The first few candidates that differ, in their order. */
export function firstDistinct(candidates: Iterable<Candidate>): readonly Candidate[] {
  const distinct = new Map<string, Candidate>();
  for (const candidate of candidates) {
    const print = fingerprint(candidate.credential);
    if (!distinct.has(print)) distinct.set(print, candidate);
    if (distinct.size === MAX_CANDIDATES) break;
  }
  return [...distinct.values()];
}
