import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { TestContext } from 'node:test';
import { describeError } from '@soci/errors';
import { readMountInfo } from '@soci/linux';
import { Cri } from '@soci/testing';
import { criConfig, NO_BACKGROUND_FETCH } from './credential-config.ts';
import type { ReadImage } from './read-image.ts';
import { Readers, type ReaderResult } from './readers.ts';
import { LOGIN, Stack, type StackOptions } from './stack.ts';

export interface Shape {
  readonly credentials: 'docker' | 'cri';
  /** How a new process comes to what an earlier one had not answered. */
  readonly owed: 'resend' | 'journal';
}

const LOG_BYTES = 12_000;
const WITHOUT_RESEND = new URL('./without-resend.mjs', import.meta.url);

/** As the unit of systemd has it: a node that is busy does not make readers wait longer for the next process. */
export const AS_A_UNIT = ['nice', '-n', '-10'];

/** A node whose snapshotter is going to be killed. */
export async function startNode({ credentials, owed }: Shape, more: StackOptions = {}): Promise<Stack> {
  return await Stack.start({
    ...(credentials === 'cri' ? { dockerLogin: null } : {}),
    config: (place) => NO_BACKGROUND_FETCH + (credentials === 'cri' ? criConfig(place) : ''),
    ...(owed === 'journal' ? { env: { NODE_OPTIONS: `--import ${WITHOUT_RESEND.href}` } } : {}),
    wrapper: AS_A_UNIT,
    logLevel: 'info',
    ...more,
  });
}

export async function pullForReading(stack: Stack, image: ReadImage, { credentials }: Shape): Promise<string> {
  const reference = await stack.push(image.layout, 'read/app:1');
  if (credentials === 'docker') await stack.pull(reference);
  else {
    using kubelet = new Cri(stack.snapshotter.address);
    await kubelet.pullImage(reference, LOGIN);
  }
  return reference;
}

/** The mounts of a stack, with their ids: one that was unmounted and mounted again is another one. */
export function mountTable({ directory }: Stack): readonly string[] {
  return readMountInfo()
    .filter(({ mountPoint }) => mountPoint.startsWith(directory))
    .map((mount) => JSON.stringify(mount));
}

export interface Ordeal {
  readonly image: ReadImage;
  readonly reference: string;
  readonly passSeconds: number;
  readonly maxStallMs: number;
}

/** Has containers read while something is done to the node, and looks at what they saw. @throws with the end of the service's log */
export async function readThrough(
  t: TestContext,
  stack: Stack,
  ordeal: Ordeal,
  work: () => Promise<unknown>,
): Promise<readonly ReaderResult[]> {
  try {
    return await read(t, stack, ordeal, work);
  } catch (cause) {
    const log = (await readFile(stack.snapshotter.logPath, 'utf8')).slice(-LOG_BYTES);
    throw new Error(`${describeError(cause)}\n${log}`, { cause });
  }
}

async function read(t: TestContext, stack: Stack, ordeal: Ordeal, work: () => Promise<unknown>): Promise<readonly ReaderResult[]> {
  await using readers = await Readers.start(stack, ordeal);
  const before = mountTable(stack);
  const done = await work();
  const after = mountTable(stack);
  const results = await readers.finish();
  for (const { way, passes, reads, stalls } of results) {
    t.diagnostic(
      `${way}: ${reads} reads, ${passes} passes, longest ${stalls.map(([ms, at]) => `${ms} ms at ${at.toFixed(2)}`).join(', ')}`,
    );
  }
  if (done !== undefined) t.diagnostic(JSON.stringify(done));
  assert.deepEqual(
    results.map(({ way, error }) => ({ way, error })),
    ordeal.image.ways.map(({ way }) => ({ way, error: null })),
  );
  assert.deepEqual(after, before, 'the same mounts as before');
  for (const { way, stalls, passes } of results) {
    assert.ok(passes > 0, `${way} came to no end`);
    assert.ok((stalls[0]?.[0] ?? 0) < ordeal.maxStallMs, `${way} waited ${stalls[0]?.[0] ?? 0} ms`);
  }
  return results;
}
