import type { EntryReport } from '@soci/keychain';

/** What a person wants to know of an image's credentials: what each source has, and what a request to the registry would do now. It holds no secret. */
export interface CredentialsReport {
  /** The full form of the reference. */
  readonly reference: string;
  /** The registry that the sources were asked for. */
  readonly host: string;
  /** Kubernetes namespaces that the sources were asked for; empty where none is known. */
  readonly namespaces: readonly string[];
  /** Every source there can be, in the order in which they are asked. */
  readonly sources: readonly SourceReport[];
  readonly verdict: Verdict;
}

/** What a request does: it takes the entries of one source, best first; goes out without a credential; waits for a source; or fails because of one. */
export type Verdict =
  | { readonly kind: 'credentials'; readonly source: string }
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'not-ready'; readonly source: string }
  | { readonly kind: 'failed'; readonly source: string };

export interface SourceReport {
  readonly name: string;
  /** `none`: the next source is asked. `not-ready` and `failed`: no other one is. `off`: switched off, not asked. */
  readonly outcome: 'matched' | 'none' | 'not-ready' | 'failed' | 'off';
  /** Why there is no entry; empty where there is one. */
  readonly reason: string;
  /** Best first. */
  readonly entries: readonly EntryReport[];
}

/** What the first source that has something to say makes of a request. */
export function verdictOf(sources: readonly SourceReport[]): Verdict {
  for (const { name, outcome } of sources) {
    if (outcome === 'matched') return { kind: 'credentials', source: name };
    if (outcome === 'not-ready' || outcome === 'failed') return { kind: outcome, source: name };
  }
  return { kind: 'anonymous' };
}
