import { type Snapshotter, waitFor } from '@soci/testing';
import type { Stack } from './stack.ts';

/** What is killed in one go, each as far as what is left can start it again. */
export const VICTIMS = {
  service: ['service'],
  keeper: ['keeper'],
  'keeper, then service': ['keeper', 'service'],
  'service, then keeper': ['service', 'keeper'],
  containerd: ['containerd'],
  registry: ['registry'],
} as const satisfies Readonly<Record<string, readonly Process[]>>;

type Process = 'service' | 'keeper' | 'containerd' | 'registry';
export type Victim = keyof typeof VICTIMS;

export interface KillOptions {
  readonly victims: readonly Victim[];
  readonly seconds: number;
  /** A number from 0 up to 1. */
  readonly random: () => number;
}

export interface Kill {
  readonly victim: Victim;
  /** Seconds since the epoch. */
  readonly at: number;
}

const EVERY_MS = 2_000;
/** The rest of the time nothing else is killed. */
const WITHIN_MS = 1_000;
const STARTED_MS = 10_000;

/** Kills one after the other, every two seconds at some moment of the first. Resolves when all that was killed runs again. */
export async function killInTurn(stack: Stack, { victims, seconds, random }: KillOptions): Promise<readonly Kill[]> {
  const begin = performance.now();
  const kills: Kill[] = [];
  const rounds = Math.round((seconds * 1_000) / EVERY_MS);
  for (let round = 0; round < rounds; round++) {
    const at = begin + round * EVERY_MS + random() * WITHIN_MS;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, at - performance.now())));
    const victim = victims[round % victims.length] ?? 'service';
    kills.push({ victim, at: Date.now() / 1_000 });
    for (const process of VICTIMS[victim]) await kill(stack, process);
  }
  await untilWhole(stack.snapshotter);
  return kills;
}

/** @param process killed when the other one of the two is there to start it again */
async function kill(stack: Stack, process: Process): Promise<void> {
  if (process === 'containerd' || process === 'registry') {
    await stack[process].stop('SIGKILL');
    await stack[process].startAgain();
    return;
  }
  const { snapshotter } = stack;
  await untilWhole(snapshotter);
  const doomed = snapshotter.processes()[process === 'keeper' ? 'keepers' : 'services'];
  if (process === 'keeper') snapshotter.kill('SIGKILL');
  else snapshotter.killService('SIGKILL');
  const isGone = (): boolean => {
    const { keepers, services } = snapshotter.processes();
    return doomed.every((pid) => !keepers.includes(pid) && !services.includes(pid));
  };
  await waitFor(isGone, { timeoutMs: STARTED_MS, intervalMs: 2, what: `the killed ${process} to be gone` });
}

async function untilWhole(snapshotter: Snapshotter): Promise<void> {
  const isWhole = (): boolean => {
    const { keepers, services } = snapshotter.processes();
    return keepers.length === 1 && services.length === 1;
  };
  await waitFor(isWhole, { timeoutMs: STARTED_MS, intervalMs: 5, what: 'keeper and service to run' });
}
