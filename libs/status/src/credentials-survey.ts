import type { ImageReference } from '@soci/image';
import { isHubHost, surveySources, type ChainLink, type Lookup, type SourceReport as SourceAnswer } from '@soci/keychain';
import { verdictOf, type CredentialsReport, type SourceReport } from './credentials-report.ts';
import { StatusError } from './errors.ts';
import { plainText } from './plain-text.ts';

export interface CredentialsSurveyOptions {
  /** All there can be, in the order in which they are asked. */
  readonly sources: readonly ChainLink[];
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
  const asked = sources.flatMap((reported) => ('off' in reported ? [] : [reported.source]));
  const answers = (await surveySources(asked, lookup, signal, nowMs)).values();
  const reports = sources.map((reported) => ('off' in reported ? offReport(reported) : toReport(answers.next().value)));
  return { reference: reference.toString(), host: lookup.host, namespaces, sources: reports, verdict: verdictOf(reports) };
}

function offReport({ name, off }: { readonly name: string; readonly off: string }): SourceReport {
  return { name, outcome: 'off', reason: plainText(off), entries: [] };
}

function toReport(answer: SourceAnswer | undefined): SourceReport {
  if (answer === undefined) throw new StatusError('FAILED', 'a source gave no answer');
  const { source, outcome, entries, reason = '' } = answer;
  return {
    name: source,
    outcome: outcome === 'candidates' ? 'matched' : outcome,
    reason: plainText(reason),
    entries: entries.slice(0, MAX_ENTRIES).map((entry) => ({ ...entry, entry: plainText(entry.entry) })),
  };
}
