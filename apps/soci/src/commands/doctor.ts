import { loadConfig, parseConfig } from '@soci/config';
import { CliError } from '../errors.ts';
import { ALL_CHECKS } from '../doctor/all-checks.ts';
import type { Finding } from '../doctor/check.ts';
import { DoctorContext } from '../doctor/doctor-context.ts';
import { runChecks } from '../doctor/run-checks.ts';
import type { Session } from '../session.ts';

export interface DoctorCommandOptions {
  readonly json?: boolean;
  /** The running service's admin socket; as its configuration says by default. */
  readonly adminAddress?: string;
  /** The service's configuration. */
  readonly config: string;
  readonly containerdConfig: string;
  readonly registry?: readonly string[];
}

/** `soci doctor`: looks at all that lazy loading needs, and says what is wrong and what to do. Changes nothing. */
export async function doctor(_: readonly string[], options: DoctorCommandOptions, session: Session): Promise<void> {
  const { address, root } = session.globals;
  const { environment, now } = session.host;
  session.host.abandonThreads?.(); // a look-up of a name cannot be taken back
  using context = new DoctorContext({
    adminAddress: options.adminAddress ?? (await configuredAddress(options.config)),
    configPath: options.config,
    containerdConfigPath: options.containerdConfig,
    containerdAddress: address,
    root,
    registries: options.registry ?? [],
    environment,
    log: session.log,
    nowMs: now,
  });
  const findings = await runChecks(ALL_CHECKS, { context, signal: session.signal, onProgress: progressOn(session) });
  if (options.json === true) session.print(JSON.stringify(toJson(findings), null, 2));
  else for (const line of toLines(findings)) session.print(line);
  const problems = count(findings, 'problem');
  if (problems > 0) throw new CliError('PROBLEMS_FOUND', problems === 1 ? '1 problem found' : `${problems} problems found`);
}

/** A configuration that cannot be read is told of by its own check. */
async function configuredAddress(path: string): Promise<string> {
  const loaded = await loadConfig(path, { defaultPath: path }).catch(() => parseConfig('', path));
  return loaded.config.admin.address || parseConfig('', path).config.admin.address;
}

/** A line that is drawn over and, at the end, taken away; only where a person watches. */
function progressOn({ host }: Session): (done: number, waitingFor: string) => void {
  const { terminal } = host.stderr;
  return (done, waitingFor) => {
    if (terminal === undefined) return;
    const text = waitingFor === '' ? '' : `${done} of ${ALL_CHECKS.length} checks done, waiting for ${waitingFor}`;
    terminal.write(`\r\u001b[K${text}`);
  };
}

function toLines(findings: readonly Finding[]): readonly string[] {
  const width = Math.max(...findings.map(({ check }) => check.length));
  return findings.map((finding) => {
    const start = `${finding.outcome.padEnd('problem'.length)}  ${finding.check.padEnd(width)}  ${finding.message}`;
    return finding.outcome === 'ok' ? start : `${start} -> ${finding.cure}`;
  });
}

function toJson(findings: readonly Finding[]): object {
  return { problems: count(findings, 'problem'), warnings: count(findings, 'warning'), findings };
}

function count(findings: readonly Finding[], outcome: Finding['outcome']): number {
  return findings.filter((finding) => finding.outcome === outcome).length;
}
