import { hasCode } from '@soci/errors';
import type { EntryReport } from '@soci/keychain';
import { openStatus, type CredentialsReport, type SourceReport, type Verdict } from '@soci/status';
import { CliError } from '../errors.ts';
import { formatAge } from '../go-values.ts';
import type { Session } from '../session.ts';
import { formatTable } from '../table.ts';

export interface CredentialsOptions {
  readonly json?: boolean;
  /** The running service's admin socket. */
  readonly adminAddress: string;
  /** Another registry than the image's own. */
  readonly registry?: string;
  readonly podNamespace?: readonly string[];
}

const HEADER = ['SOURCE', 'RESULT', 'USED', 'ENTRY', 'KIND', 'AGE', 'REASON'];
/** How many candidates of one source one request shows a registry at most. */
const MAX_TRIED = 5;

/** `soci credentials`: which of the running service's sources have a credential for an image, which one a pull would use, and why not. Never the secret. */
export async function credentials([reference = '']: readonly string[], options: CredentialsOptions, session: Session): Promise<void> {
  if (reference === '') throw new CliError('ARGUMENT_MISSING', 'please provide an image reference');
  const report = await ask(reference, options, session);
  if (options.json === true) session.print(JSON.stringify(report, null, 2));
  else printReport(report, session);
  failUndecided(report);
}

async function ask(
  reference: string,
  { adminAddress, registry, podNamespace }: CredentialsOptions,
  session: Session,
): Promise<CredentialsReport> {
  using client = openStatus(adminAddress);
  const request = {
    reference,
    ...(registry === undefined ? {} : { host: registry }),
    ...(podNamespace === undefined ? {} : { namespaces: podNamespace }),
  };
  try {
    return await client.credentials(request, session.signal);
  } catch (cause) {
    if (hasCode(cause, 'NOT_RUNNING')) {
      const cure = 'start soci-snapshotter-grpc, or name the [admin] address of its configuration with --admin-address';
      throw new CliError('NOT_RUNNING', `${cause.message}: ${cure}`, { cause });
    }
    if (hasCode(cause, 'NO_PERMISSION'))
      throw new CliError('NOT_RUNNING', `${cause.message} may be used by the service's user alone: run it as root`, { cause });
    throw cause;
  }
}

function printReport({ reference, host, namespaces, sources, verdict }: CredentialsReport, session: Session): void {
  session.print(`Image:       ${reference}`);
  session.print(`Registry:    ${host}`);
  if (namespaces.length > 0) session.print(`Namespaces:  ${namespaces.join(', ')}`);
  session.print(`Result:      ${sentence(verdict)}\n`);
  const now = session.host.now();
  session.stdout.write(formatTable([HEADER, ...sources.flatMap((source) => rowsOf(source, verdict, now))]));
}

function sentence(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'credentials':
      return `the registry is shown what ${verdict.source} has`;
    case 'anonymous':
      return 'no source has a credential, the registry is asked without one';
    case 'not-ready':
      return `requests wait: ${verdict.source} cannot answer yet`;
    case 'failed':
      return `requests fail: ${verdict.source} is meant for this registry and failed`;
  }
}

function rowsOf(source: SourceReport, verdict: Verdict, nowMs: number): readonly (readonly string[])[] {
  const { name, outcome, reason, entries } = source;
  if (entries.length === 0) return [[name, outcome, '', '', '', '', reason]];
  const isUsed = verdict.kind === 'credentials' && verdict.source === name;
  return entries.map((entry, index) => [
    name,
    outcome,
    isUsed ? used(index) : '',
    entry.entry,
    entry.kind,
    age(entry, nowMs),
    reasonOf(isUsed, index, verdict),
  ]);
}

function used(index: number): string {
  if (index === 0) return 'yes';
  return index < MAX_TRIED ? 'if refused' : '';
}

function reasonOf(isUsed: boolean, index: number, verdict: Verdict): string {
  if (!isUsed) return verdict.kind === 'anonymous' ? '' : `${verdict.source} comes first`;
  return index < MAX_TRIED ? '' : `at most ${MAX_TRIED} are tried`;
}

function age({ ageMs }: EntryReport, nowMs: number): string {
  return ageMs === undefined ? 'read now' : formatAge(nowMs - ageMs, nowMs);
}

function failUndecided({ verdict, sources }: CredentialsReport): void {
  if (verdict.kind === 'credentials' || verdict.kind === 'anonymous') return;
  const reason = sources.find(({ name }) => name === verdict.source)?.reason ?? '';
  throw new CliError(
    'UNDECIDED',
    `${verdict.source} ${verdict.kind === 'failed' ? 'failed' : 'is not ready'}${reason === '' ? '' : `: ${reason}`}`,
  );
}
