import type { Logger } from '@soci/log';
import { runChainRow } from './chain.ts';
import { runChallengeRow } from './challenge.ts';
import { matches } from './compare.ts';
import { runCriRow } from './cri.ts';
import { runDockerConfigRow } from './docker-config.ts';
import { runPluginRow } from './plugins.ts';
import { runKeyringRow, runPullSecretRow } from './pull-secrets.ts';
import { runRefreshRow } from './refresh.ts';
import type { Outcome, Row } from './row.ts';
import { runTokenRow } from './token.ts';

export type Result =
  | { readonly kind: 'pass'; readonly row: Row; readonly got: Outcome }
  | { readonly kind: 'difference'; readonly row: Row; readonly got: Outcome }
  | { readonly kind: 'not-run'; readonly row: Row; readonly reason: string };

type Runner = (row: Row, log: Logger, signal: AbortSignal) => Outcome | Promise<Outcome>;

const RUNNERS: ReadonlyMap<string, Runner> = new Map<string, Runner>([
  ['docker-config', runDockerConfigRow],
  ['cli', runDockerConfigRow],
  ['challenge', runChallengeRow],
  ['token', runTokenRow],
  ['refresh', runRefreshRow],
  ['k8s-keyring', runKeyringRow],
  ['k8s-secret', runPullSecretRow],
  ['kubelet-plugin', runPluginRow],
  ['chain', runChainRow],
  ['cri', runCriRow],
]);

/** Runs one row against the code. */
export async function runRow(row: Row, log: Logger, signal: AbortSignal): Promise<Result> {
  const runner = RUNNERS.get(row.source);
  if (runner === undefined) return { kind: 'not-run', row, reason: 'not a source we know' };
  const got = await runner(row, log, signal);
  return { kind: matches(row.expect, got) ? 'pass' : 'difference', row, got };
}
