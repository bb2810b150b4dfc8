import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { Snapshotter } from '@soci/testing';
import { mountsBelow } from '../mounts.ts';
import { program, scratchFolder } from '../stack.ts';

/** A program that runs containerd's own snapshotter suite against the socket it is given, and needs Go and root. */
const suite = process.env['SNAPSHOTTER_SUITE'];
const TESTS = 21;

describe('containerd’s snapshotter suite against the agent', {
  skip: suite === undefined ? 'SNAPSHOTTER_SUITE names no program that runs it' : false,
}, () => {
  it(`passes ${TESTS} of ${TESTS}, and leaves no mounts`, { timeout: 600_000 }, async (t) => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const sockets = await mkdtemp(join(tmpdir(), 's-')); // a socket's path must be short
    t.after(() => rm(sockets, { recursive: true, force: true }));
    const address = join(sockets, 'socket');
    await using snapshotter = await Snapshotter.start({ directory, address, command: [program('agent', 'soci-snapshotter-grpc')] });

    const child = spawn(suite ?? '', [address], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
    const [output, status] = await Promise.all([text(child.stdout), ended]);

    assert.equal(status, 0, output);
    assert.equal(output.match(/^\s+--- PASS: TestSnapshotter\//gm)?.length, TESTS, output);
    await snapshotter.stop();
    assert.deepEqual(await mountsBelow(directory), []);
  });
});
