import type { EntryReport } from '@soci/keychain';
import { status as api } from '@soci/proto';
import type { CredentialsReport, SourceReport, Verdict } from './credentials-report.ts';
import { StatusError } from './errors.ts';
import { nameOf } from './wire-names.ts';

const { Outcome, CredentialKind } = api;

const OUTCOMES = {
  matched: Outcome.MATCHED,
  none: Outcome.NONE,
  'not-ready': Outcome.NOT_READY,
  failed: Outcome.FAILED,
  off: Outcome.OFF,
} as const satisfies Record<SourceReport['outcome'], api.Outcome>;

const KINDS = {
  basic: CredentialKind.BASIC,
  identity_token: CredentialKind.IDENTITY_TOKEN,
  registry_token: CredentialKind.REGISTRY_TOKEN,
  anonymous: CredentialKind.ANONYMOUS,
} as const satisfies Record<EntryReport['kind'], api.CredentialKind>;

const VERDICTS = {
  credentials: api.Verdict.CREDENTIALS,
  anonymous: api.Verdict.ANONYMOUS,
  'not-ready': api.Verdict.NOT_READY,
  failed: api.Verdict.FAILED,
} as const satisfies Record<Verdict['kind'], api.Verdict>;

export function toWireReport({ reference, host, namespaces, sources, verdict }: CredentialsReport): api.CredentialsResponse {
  return {
    reference,
    host,
    namespaces: [...namespaces],
    sources: sources.map(toWireSource),
    verdict: VERDICTS[verdict.kind],
    decidedBy: verdict.kind === 'anonymous' ? undefined : sources.findIndex(({ name }) => name === verdict.source),
  };
}

/** @throws {StatusError} `FAILED` for an answer of a service that knows more than this client */
export function fromWireReport({ reference, host, namespaces, sources, verdict, decidedBy }: api.CredentialsResponse): CredentialsReport {
  const reports = sources.map(fromWireSource);
  return { reference, host, namespaces, sources: reports, verdict: fromWireVerdict(verdict, reports[decidedBy ?? -1]) };
}

function toWireSource({ name, outcome, reason, entries }: SourceReport): api.SourceReport {
  return { name, enabled: outcome !== 'off', outcome: OUTCOMES[outcome], reason, entries: entries.map(toWireEntry) };
}

function toWireEntry({ entry, kind, ageMs }: EntryReport): api.Entry {
  return { entry, kind: KINDS[kind], ageMs: ageMs === undefined ? undefined : BigInt(Math.trunc(ageMs)) };
}

function fromWireSource({ name, outcome, reason, entries }: api.SourceReport): SourceReport {
  return { name, outcome: nameOf(OUTCOMES, outcome), reason, entries: entries.map(fromWireEntry) };
}

function fromWireEntry({ entry, kind, ageMs }: api.Entry): EntryReport {
  return { entry, kind: nameOf(KINDS, kind), ...(ageMs === undefined ? {} : { ageMs: Number(ageMs) }) };
}

function fromWireVerdict(verdict: api.Verdict, decider: SourceReport | undefined): Verdict {
  const kind = nameOf(VERDICTS, verdict);
  if (kind === 'anonymous') return { kind };
  if (decider === undefined) throw new StatusError('FAILED', 'the service names no source for its verdict');
  return { kind, source: decider.name };
}
