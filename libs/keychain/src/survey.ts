import { describeError } from '@soci/errors';
import type { Credential } from './credential.ts';
import type { Answer, Candidate, CredentialSource, Lookup } from './source.ts';

export type SourceOutcome = 'candidates' | 'none' | 'not-ready' | 'failed';

export interface EntryReport {
  /** Where in the source it stands, as `Candidate.entry`. */
  readonly entry: string;
  readonly kind: Credential['kind'];
  /** How long the source has had it; left out where the source reads it afresh. */
  readonly ageMs?: number;
}

/** What one source says to a look-up, without a secret. */
export interface SourceReport {
  readonly source: string;
  readonly outcome: SourceOutcome;
  /** The chain's search ends at this one, the first that does not say `none`. With `candidates` its entries are what a registry is shown; otherwise nothing is. */
  readonly endsSearch: boolean;
  /** Best first; empty unless the outcome is `candidates`. */
  readonly entries: readonly EntryReport[];
  /** Why not, in a line; there for `not-ready` and `failed`, mostly for `none`. */
  readonly reason?: string;
  readonly durationMs: number;
}

type Finding = Pick<SourceReport, 'outcome' | 'entries' | 'reason'>;

/**
 * Asks all sources of a chain, at the same time, the later ones also when an earlier one ends the search.
 *
 * @param sources in the order of the chain, as the reports are
 * @param nowMs the wall clock
 * @throws the signal's reason, when it fires before all have answered; what a source throws is part of its report
 */
export async function surveySources(
  sources: readonly CredentialSource[],
  lookup: Lookup,
  signal: AbortSignal,
  nowMs: () => number = Date.now,
): Promise<SourceReport[]> {
  const asked = sources.map(async (source) => {
    const begin = performance.now();
    const finding = await ask(source, lookup, signal, nowMs);
    return { source: source.name, ...finding, durationMs: performance.now() - begin };
  });
  const findings = await Promise.all(asked);
  const end = findings.findIndex(({ outcome }) => outcome !== 'none');
  return findings.map((finding, place) => ({ ...finding, endsSearch: place === end }));
}

async function ask(source: CredentialSource, lookup: Lookup, signal: AbortSignal, nowMs: () => number): Promise<Finding> {
  let answer: Answer;
  try {
    answer = await source.resolve(lookup, signal);
  } catch (error) {
    signal.throwIfAborted();
    return { outcome: 'failed', entries: [], reason: describeError(error) };
  }
  if (answer.kind === 'candidates') return { outcome: 'candidates', entries: answer.candidates.map((one) => toEntryReport(one, nowMs())) };
  return { outcome: answer.kind, entries: [], ...(answer.reason === undefined ? {} : { reason: answer.reason }) };
}

function toEntryReport({ entry, credential, sinceMs }: Candidate, nowMs: number): EntryReport {
  return { entry, kind: credential.kind, ...(sinceMs === undefined ? {} : { ageMs: Math.max(0, nowMs - sinceMs) }) };
}
