import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { findMount, readMountInfo, UMOUNT_FLAGS, umountNow } from '@soci/linux';
import { inPrivateNamespace } from '@soci/linux/testing';
import { collectLogs } from '@soci/log';
import { FlatFuse, type FlatFuseOptions, FuseState, type Miss, type Slot } from './index.ts';

const run = promisify(execFile);
const SPAN_BYTES = 1 << 20;

interface Layer {
  readonly slot: Slot;
  /** As the kernel sees it: rounded up with zeros. */
  readonly bytes: Buffer;
  readonly names: Buffer;
  /** Says that a span may be read from the file. */
  readonly announce: (span: number) => void;
}

interface Fixture {
  readonly fuse: FlatFuse;
  readonly fd: number;
  readonly mountPoint: string;
  readonly options: FlatFuseOptions;
  readonly misses: Miss[];
  readonly lines: readonly string[];
  readonly addLayer: (slot: number, sizeBytes: number) => Layer;
  readonly nextMiss: () => Promise<Miss>;
  readonly reply: (layer: Layer, miss: Miss) => void;
}

/** A mount in a directory of its own; layers have random bytes, none of them announced. */
async function startFuse(t: TestContext, options: Partial<FlatFuseOptions> = {}): Promise<Fixture> {
  const directory = mkdtempSync(join(tmpdir(), 'soci-fuse-'));
  const mountPoint = join(directory, 'mount');
  mkdirSync(mountPoint);
  const fd = openSync('/dev/fuse', 'r+');
  const { log, lines } = collectLogs();
  const misses: Miss[] = [];
  const waiting: ((miss: Miss) => void)[] = [];
  const onMiss = (miss: Miss): void => {
    const next = waiting.shift();
    if (next) next(miss);
    else misses.push(miss);
  };
  const all: FlatFuseOptions = { fd, mountPoint, log, onMiss, ...options };
  const fuse = await FlatFuse.serve(all);
  t.after(async () => {
    await fuse[Symbol.asyncDispose]();
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });
  return {
    fuse,
    fd,
    mountPoint,
    options: all,
    misses,
    lines,
    addLayer: (slot, sizeBytes) => {
      const layer = makeLayer(directory, slot, sizeBytes);
      fuse.addSlot(layer.slot);
      return layer;
    },
    nextMiss: async () => misses.shift() ?? (await new Promise<Miss>((resolve) => waiting.push(resolve))),
    reply: (layer, miss) => fuse.reply(miss.uniqueLow, miss.uniqueHigh, wanted(layer, miss)),
  };
}

function makeLayer(directory: string, slot: number, sizeBytes: number): Layer {
  const data = randomBytes(sizeBytes);
  const names = randomBytes(8192);
  const [namesPath, bytesPath] = [join(directory, `names-${slot}`), join(directory, `bytes-${slot}`)];
  writeFileSync(namesPath, names);
  writeFileSync(bytesPath, data);
  const spanCount = Math.ceil(sizeBytes / SPAN_BYTES);
  const spanStartBytes = new Float64Array(new SharedArrayBuffer((spanCount + 1) * 8));
  for (let span = 0; span <= spanCount; span++) spanStartBytes[span] = Math.min(span * SPAN_BYTES, sizeBytes);
  const present = new Int32Array(new SharedArrayBuffer(((spanCount + 31) >>> 5) * 4));
  const bytesSizeBytes = Math.ceil(sizeBytes / 512) * 512;
  return {
    slot: {
      slot,
      namesFd: openSync(namesPath, 'r'),
      namesSizeBytes: names.length,
      bytesFd: openSync(bytesPath, 'r+'),
      bytesSizeBytes,
      dataSizeBytes: sizeBytes,
      spanStartBytes,
      present,
    },
    names,
    bytes: Buffer.concat([data, Buffer.alloc(bytesSizeBytes - sizeBytes)]),
    announce: (span) => void Atomics.or(present, span >>> 5, 1 << (span & 31)),
  };
}

function wanted(layer: Layer, { offsetBytes, sizeBytes }: Miss): Buffer {
  return layer.bytes.subarray(offsetBytes, offsetBytes + sizeBytes);
}

/** Reads in another process: this one serves, and must not wait for itself. */
async function read(path: string): Promise<Buffer> {
  const { stdout } = await run('cat', [path], { encoding: 'buffer', maxBuffer: 1 << 28 });
  return stdout;
}

/** Times reads of one page each in a process of its own. @returns milliseconds each */
async function timeReads(path: string, offsets: readonly number[]): Promise<number[]> {
  const script = `const fs = require('node:fs'); const fd = fs.openSync(process.argv[1], 'r'); const into = Buffer.alloc(4096);
    process.stdout.write(JSON.stringify(JSON.parse(process.argv[2]).map((at) => {
      const start = performance.now(); fs.readSync(fd, into, 0, 4096, at); return performance.now() - start; })));`;
  const { stdout } = await run(process.execPath, ['-e', script, path, JSON.stringify(offsets)]);
  return JSON.parse(stdout) as number[];
}

/** Processes that each wait for one page; gone when they are killed. */
function startReaders(t: TestContext, path: string, pages: readonly number[]) {
  const readers = pages.map((page) =>
    spawn('dd', [`if=${path}`, 'of=/dev/null', 'bs=4096', 'count=1', `skip=${page}`], { stdio: 'ignore' }),
  );
  t.after(() => readers.forEach((reader) => reader.kill('SIGKILL')));
  return readers.map(async (reader) => await new Promise<number | null>((resolve) => reader.once('close', resolve)));
}

inPrivateNamespace(import.meta.filename, () => {
  describe('FlatFuse', () => {
    it('serves names and bytes, rounded up with zeros, without asking anybody', async (t) => {
      const { fuse, addLayer, misses } = await startFuse(t);
      const layer = addLayer(1, 3 * SPAN_BYTES + 100);
      for (let span = 0; span < 4; span++) layer.announce(span);
      assert.ok((await read(fuse.namesPath(1))).equals(layer.names));
      assert.ok((await read(fuse.bytesPath(1))).equals(layer.bytes));
      assert.deepEqual(misses, []);
    });

    it('reads ahead by a mebibyte, and lists nothing', async (t) => {
      const { mountPoint } = await startFuse(t);
      const device = findMount(mountPoint, readMountInfo())?.device ?? '';
      assert.equal(readFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, 'utf8').trim(), '1024');
      assert.equal((await run('ls', ['-A', mountPoint])).stdout, '');
    });

    it('shows a slot that was looked for before it was there', async (t) => {
      const { fuse, addLayer } = await startFuse(t);
      await assert.rejects(read(fuse.namesPath(9)));
      const layer = addLayer(9, 512);
      assert.ok((await read(fuse.namesPath(9))).equals(layer.names));
    });

    it('hands on a miss, and answers it from several parts', async (t) => {
      const { fuse, addLayer, nextMiss } = await startFuse(t);
      const layer = addLayer(1, SPAN_BYTES + 700);
      const got = read(fuse.bytesPath(1));
      for (let left = layer.bytes.length; left > 0; ) {
        const miss = await nextMiss();
        const bytes = wanted(layer, miss);
        fuse.reply(miss.uniqueLow, miss.uniqueHigh, [bytes.subarray(0, 100), bytes.subarray(100)]);
        left -= miss.sizeBytes;
      }
      assert.ok((await got).equals(layer.bytes));
    });

    it('answers EIO, and the next read is asked for again', async (t) => {
      const { fuse, addLayer, nextMiss, misses, reply } = await startFuse(t);
      const layer = addLayer(1, 4096);
      const failed = assert.rejects(read(fuse.bytesPath(1)), /Input\/output error/);
      const refusing = setInterval(() => {
        for (const miss of misses.splice(0)) fuse.replyError(miss.uniqueLow, miss.uniqueHigh); // the kernel retries by itself
      }, 2);
      t.after(() => clearInterval(refusing));
      await failed;
      clearInterval(refusing);
      const got = read(fuse.bytesPath(1));
      reply(layer, await nextMiss());
      assert.ok((await got).equals(layer.bytes));
    });

    it('never answers short: EIO instead, and the file keeps its size', async (t) => {
      const { fuse, addLayer, nextMiss, reply } = await startFuse(t);
      const layer = addLayer(1, 4000);
      const got = read(fuse.bytesPath(1));
      const miss = await nextMiss();
      assert.equal(miss.sizeBytes, 4096);
      assert.throws(() => fuse.reply(miss.uniqueLow, miss.uniqueHigh, layer.bytes.subarray(0, 4000)), {
        code: 'REPLY_FAILED',
      });
      reply(layer, await nextMiss()); // the kernel tries once more by itself
      assert.ok((await got).equals(layer.bytes));
    });

    it('serves cold local reads at once while a hundred others wait', async (t) => {
      const { fuse, addLayer, misses } = await startFuse(t);
      const [waited, local] = [addLayer(1, 100 * SPAN_BYTES), addLayer(2, 16 * SPAN_BYTES)];
      for (let span = 0; span < 16; span++) local.announce(span);
      const pages = Array.from({ length: 100 }, (_, i) => i * (SPAN_BYTES / 4096));
      const readers = startReaders(t, fuse.bytesPath(1), pages);
      while (misses.length < 100) await new Promise((resolve) => setTimeout(resolve, 5));
      const times = await timeReads(
        fuse.bytesPath(2),
        Array.from({ length: 16 }, (_, i) => ((i * 7) % 16) * SPAN_BYTES),
      );
      assert.ok(Math.max(...times) < 50, `slowest of ${times.length}: ${Math.max(...times)} ms`);
      for (let left = readers.length; left > 0; left--) {
        const miss = misses.shift();
        assert.ok(miss);
        fuse.reply(miss.uniqueLow, miss.uniqueHigh, wanted(waited, miss));
      }
      const answering = setInterval(() => {
        for (const miss of misses.splice(0)) fuse.reply(miss.uniqueLow, miss.uniqueHigh, wanted(waited, miss));
      }, 5);
      t.after(() => clearInterval(answering));
      assert.deepEqual(new Set(await Promise.all(readers)), new Set([0]));
    });

    it('stops within 5 s while readers wait, and they get an error', async (t) => {
      const { fuse, addLayer, misses, mountPoint, lines } = await startFuse(t);
      addLayer(1, 20 * SPAN_BYTES);
      const readers = startReaders(
        t,
        fuse.bytesPath(1),
        Array.from({ length: 20 }, (_, i) => i * 256),
      );
      while (misses.length < 20) await new Promise((resolve) => setTimeout(resolve, 5));
      const start = performance.now();
      await fuse[Symbol.asyncDispose]();
      assert.deepEqual(new Set(await Promise.all(readers)), new Set([1]));
      assert.ok(performance.now() - start < 5000);
      assert.equal(findMount(mountPoint, readMountInfo()), undefined);
      for (const miss of misses) fuse.replyError(miss.uniqueLow, miss.uniqueHigh); // too late is no error
      assert.deepEqual(lines, []);
    });

    it('takes a slot away under load, so that its descriptors can be closed', async (t) => {
      const { fuse, addLayer } = await startFuse(t);
      const [kept, removed] = [addLayer(1, SPAN_BYTES), addLayer(2, 64 * SPAN_BYTES)];
      kept.announce(0);
      for (let span = 0; span < 64; span++) removed.announce(span);
      const load = read(fuse.bytesPath(2)).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 10));
      await fuse.removeSlot(2);
      closeSync(removed.slot.bytesFd);
      closeSync(removed.slot.namesFd);
      await load;
      await assert.rejects(read(fuse.namesPath(2)));
      assert.throws(() => fuse.addSlot(removed.slot), { code: 'SLOT_IN_USE' });
      assert.ok((await read(fuse.bytesPath(1))).equals(kept.bytes));
    });

    for (const mayResend of [true, false]) {
      const how = mayResend ? 'the kernel sends again' : 'the journal has';
      it(`leaves the mount to the next server, which gets from where ${how} it what was not answered`, async (t) => {
        const state = await FuseState.open(undefined);
        const { fuse, addLayer, nextMiss, options } = await startFuse(t, { state, mayResend });
        const [layer, other] = [addLayer(1, 4096), addLayer(2, 4096)];
        other.announce(0);
        const got = read(fuse.bytesPath(1));
        await nextMiss();
        await fuse.detach();
        const more = [read(fuse.namesPath(2)), read(fuse.bytesPath(2))];
        const again = Promise.withResolvers<Miss>();
        await using next = await FlatFuse.serve({ ...options, onMiss: again.resolve });
        assert.equal(next.isResumed, true);
        assert.equal(next.hasResend, mayResend);
        while (next.heldRequests < 2) await new Promise((resolve) => setTimeout(resolve, 5)); // nobody is refused before the slots are there
        next.addSlot(layer.slot);
        next.addSlot(other.slot);
        const miss = await again.promise;
        next.reply(miss.uniqueLow, miss.uniqueHigh, wanted(layer, miss));
        assert.ok((await got).equals(layer.bytes));
        assert.deepEqual(await Promise.all(more), [other.names, other.bytes]);
        next.settle();
        await assert.rejects(read(next.namesPath(3)), /No such file/);
        assert.deepEqual(
          state.journal.takeOver(() => undefined),
          [],
        );
      });
    }

    it('refuses what waited for a slot that does not come back', async (t) => {
      const state = await FuseState.open(undefined);
      const { fuse, addLayer, options } = await startFuse(t, { state });
      addLayer(1, 4096);
      await fuse.detach();
      const refused = assert.rejects(read(fuse.bytesPath(1)), /No such file|Input\/output error/);
      await using next = await FlatFuse.serve(options);
      while (next.heldRequests < 1) await new Promise((resolve) => setTimeout(resolve, 5));
      next.settle();
      await refused;
    });

    it('mounts anew where the mount of the session is gone', async (t) => {
      const state = await FuseState.open(undefined);
      const { fuse, mountPoint } = await startFuse(t, { state });
      assert.ok(state.sessionAt(mountPoint));
      umountNow(mountPoint, UMOUNT_FLAGS.detach);
      assert.equal(state.sessionAt(mountPoint), undefined);
      await fuse[Symbol.asyncDispose]();
    });

    it('says so when the mount is taken away from outside', async (t) => {
      const ended = Promise.withResolvers<string>();
      const { mountPoint, lines } = await startFuse(t, { onEnded: ended.resolve });
      umountNow(mountPoint);
      assert.equal(await ended.promise, 'unmounted');
      assert.match(lines[0] ?? '', /fuse thread ended/);
    });

    it('fails with the errno of mount(2), and leaves no thread and no mount', async (t) => {
      const { log } = collectLogs();
      const fd = openSync('/dev/fuse', 'r+');
      t.after(() => closeSync(fd));
      const serving = FlatFuse.serve({ fd, mountPoint: '/no/such/directory', log, onMiss: () => undefined });
      await assert.rejects(serving, { name: 'LinuxError', code: 'ENOENT' });
    });
  });
});
