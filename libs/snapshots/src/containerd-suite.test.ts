import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { Syscalls } from '@soci/linux';
import { collectLogs } from '@soci/log';
import { serveGrpc } from '@soci/rpc';
import { SnapshotDirectories } from './snapshot-directories.ts';
import { snapshotsService } from './snapshots-service.ts';
import { Snapshotter } from './snapshotter.ts';
import { SqliteMetadataStore } from './sqlite-metadata-store.ts';

/** A program that runs containerd's own snapshotter suite against the socket it is given, and needs Go and root. */
const suite = process.env['SNAPSHOTTER_SUITE'];
const TESTS = 21;

describe('containerd’s snapshotter suite', {
  skip: suite === undefined ? 'SNAPSHOTTER_SUITE names no program that runs it' : false,
}, () => {
  it(`passes ${TESTS} of ${TESTS}`, async (t) => {
    const root = await mkdtemp(join(tmpdir(), 's-'));
    const calls = new Syscalls();
    const store = new SqliteMetadataStore({ path: join(root, 'metadata.db') });
    const { log } = collectLogs();
    const snapshotter = new Snapshotter({ store, directories: await SnapshotDirectories.open(root), calls, log });
    const socket = join(root, 'socket');
    const server = await serveGrpc({ address: socket, services: [snapshotsService(snapshotter)], log });
    t.after(async () => {
      await server.stop();
      store[Symbol.dispose]();
      await calls[Symbol.asyncDispose]();
      await rm(root, { recursive: true });
    });
    const child = spawn(suite ?? '', [socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'exit') as Promise<[number | null]>]);
    assert.equal(status, 0, output);
    assert.equal(output.match(/^\s+--- PASS: TestSnapshotter\//gm)?.length, TESTS, output);
  });
});
