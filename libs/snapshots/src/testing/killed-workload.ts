import fs, { appendFileSync, openSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { DatabaseSync, StatementSync } from 'node:sqlite';
import { Syscalls } from '@soci/linux';
import { collectLogs } from '@soci/log';
import { parseConfig } from '@soci/config';
import { createSnapshotter } from '../create-snapshotter.ts';
import { BlobFolder } from './blob-folder.ts';
import { WORKLOAD } from './workload.ts';

// A program: works with a snapshotter and is killed by SIGKILL before or after a given one of its steps on disk.

const [root = '', image = '', journalPath = '', killAt = ''] = process.argv.slice(2);
let steps = 0;

function step(): void {
  if (++steps === Number(killAt)) process.kill(process.pid, 'SIGKILL');
}

type Callable = (...args: unknown[]) => unknown;

/** Makes a step before a function is called, and one after it is done. */
function instrument(owner: object, names: readonly string[]): void {
  const functions = owner as Record<string, Callable>;
  for (const name of names) {
    const original = functions[name];
    if (original === undefined) throw new Error(`${name} is not there`);
    functions[name] = function (this: unknown, ...args: unknown[]): unknown {
      step();
      const result = original.apply(this, args);
      if (result instanceof Promise) return result.finally(step);
      step();
      return result;
    };
  }
}

instrument(fs, ['renameSync']);
instrument(fs.promises, ['mkdtemp', 'mkdir', 'chmod', 'lchown', 'rm', 'rename', 'open', 'truncate', 'writeFile']);
syncBuiltinESMExports();
instrument(DatabaseSync.prototype, ['exec']);
instrument(StatementSync.prototype, ['run']);
instrument(Syscalls.prototype, ['mount', 'umount', 'bindMount', 'removeTree']);

const source = await BlobFolder.open(image);
const { config } = parseConfig('[background_fetch]\ndisable = true\n', 'test');
const fuse = { kind: 'open', fd: openSync('/dev/fuse', 'r+') } as const;
const probe = (): Promise<{ mode: 'erofs'; reason: string }> => Promise.resolve({ mode: 'erofs', reason: 'not asked' });
const running = await createSnapshotter(
  { root, fuse, fetcher: source, config, log: collectLogs().log, probe },
  new AbortController().signal,
);
await running.restored;
for (const [index, { run }] of WORKLOAD.entries()) {
  appendFileSync(journalPath, `begin ${index}\n`);
  await run(running.snapshotter, source);
  appendFileSync(journalPath, `end ${index}\n`);
}
appendFileSync(journalPath, `steps ${steps}\n`);
process.kill(process.pid, 'SIGKILL');
