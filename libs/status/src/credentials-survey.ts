import { describeError } from '@soci/errors';
import type { ImageReference } from '@soci/image';
import { isHubHost, KeychainError, type Answer, type Candidate, type CredentialSource, type Lookup } from '@soci/keychain';
import { verdictOf, type CredentialsReport, type EntryReport, type SourceReport } from './credentials-report.ts';
import { plainText } from './plain-text.ts';

/** A source of the service's chain, or the place of one that is switched off. */
export type ReportedSource =
  | { readonly source: CredentialSource }
  /** `off`: which setting switches it on, e.g. `[cri_keychain] enable_keychain is false`. */
  | { readonly name: string; readonly off: string };

export interface CredentialsSurveyOptions {
  /** All there can be, in the order in which they are asked. */
  readonly sources: readonly ReportedSource[];
  /** The Kubernetes namespaces that are known to have pulled an image. */
  readonly namespacesOf?: (reference: ImageReference) => readonly string[];
  readonly nowMs?: () => number;
}

export interface CredentialsQuestion {
  readonly reference: ImageReference;
  /** Another registry than the image's own. */
  readonly host?: string;
  /** Left out: those that are known to have pulled the image. */
  readonly namespaces?: readonly string[];
}

/** Far more than a request tries. */
const MAX_ENTRIES = 100;
/** Where requests for Docker Hub go. */
const HUB_API_HOST = 'registry-1.docker.io';

/** Asks every source, also those that a pull would not come to, and says what a pull would do. A failed source is part of the report. */
export async function surveyCredentials(
  { sources, namespacesOf = () => [], nowMs = Date.now }: CredentialsSurveyOptions,
  { reference, host, namespaces = namespacesOf(reference) }: CredentialsQuestion,
  signal: AbortSignal,
): Promise<CredentialsReport> {
  const registry = (host ?? reference.host).toLowerCase();
  const lookup: Lookup = { host: isHubHost(registry) ? HUB_API_HOST : registry, reference, namespaces };
  const reports: SourceReport[] = [];
  for (const reported of sources) {
    reports.push('off' in reported ? offReport(reported) : await askedReport(reported.source, lookup, nowMs, signal));
  }
  return { reference: reference.toString(), host: lookup.host, namespaces, sources: reports, verdict: verdictOf(reports) };
}

function offReport({ name, off }: { readonly name: string; readonly off: string }): SourceReport {
  return { name, outcome: 'off', reason: plainText(off), entries: [] };
}

async function askedReport(source: CredentialSource, lookup: Lookup, nowMs: () => number, signal: AbortSignal): Promise<SourceReport> {
  try {
    return toReport(source.name, await source.resolve(lookup, signal), nowMs());
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof KeychainError)) throw error;
    return { name: source.name, outcome: 'failed', reason: plainText(describeError(error)), entries: [] };
  }
}

function toReport(name: string, answer: Answer, nowMs: number): SourceReport {
  if (answer.kind === 'candidates') {
    const entries = answer.candidates.slice(0, MAX_ENTRIES).map((candidate) => toEntry(candidate, nowMs));
    return { name, outcome: 'matched', reason: '', entries };
  }
  return { name, outcome: answer.kind, reason: plainText(answer.reason ?? ''), entries: [] };
}

function toEntry({ entry, credential, sinceMs }: Candidate, nowMs: number): EntryReport {
  return { entry: plainText(entry), kind: credential.kind, ...(sinceMs === undefined ? {} : { ageMs: Math.max(0, nowMs - sinceMs) }) };
}
