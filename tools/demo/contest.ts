import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Containerd, Cri } from '@soci/testing';

/** What one snapshotter did from an empty store. */
export interface Result {
  readonly pullSeconds: number;
  /** From the end of the pull to the ready line of the container. */
  readonly readySeconds: number;
  /** Bytes of answers on the line until the ready line. */
  readonly bytes: number;
  readonly requests: number;
}

export interface Contestant {
  readonly containerd: Containerd;
  readonly cri: Cri;
  readonly snapshotter: 'soci' | 'overlayfs';
}

export interface Line {
  /** Bytes and requests so far. */
  readonly served: () => Promise<{ readonly bytes: number; readonly requests: number }>;
}

const READY_TIMEOUT_MS = 180_000;

/** Pulls a reference through CRI, starts it, and stops the clock at its line `ready`. */
export async function pullAndRun(
  { containerd, cri, snapshotter }: Contestant,
  reference: string,
  login: { username: string; password: string },
  line: Line,
): Promise<Result> {
  const before = await line.served();
  const begin = performance.now();
  await cri.pullImage(reference, login);
  const pulled = performance.now();
  const ready = await runUntilReady(containerd.ctrCommand(['run', '--rm', '--snapshotter', snapshotter, reference, `demo-${snapshotter}`]));
  const after = await line.served();
  await ready.finished;
  return {
    pullSeconds: (pulled - begin) / 1_000,
    readySeconds: (ready.at - pulled) / 1_000,
    bytes: after.bytes - before.bytes,
    requests: after.requests - before.requests,
  };
}

/** @returns when the ready line came, and a promise of the program's end */
async function runUntilReady([command, ...args]: readonly [string, ...string[]]): Promise<{
  readonly at: number;
  readonly finished: Promise<void>;
}> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: READY_TIMEOUT_MS });
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  const closed = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  const at = await new Promise<number>((resolve, reject) => {
    createInterface(child.stdout).on('line', (text) => {
      output += `${text}\n`;
      if (text.startsWith('ready')) resolve(performance.now());
    });
    closed.then((code) => reject(new Error(`the container ended with ${code ?? 'a signal'} before its ready line:\n${output}`)), reject);
  });
  return { at, finished: closed.then(() => undefined) };
}
