import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { mountNow, mountsUnder, readMountInfo } from '@soci/linux';
import { inPrivateNamespace } from '@soci/linux/testing';
import { collectLogs } from '@soci/log';
import { probeKernel } from './probe-kernel.ts';

const { log, lines } = collectLogs();
const { signal } = new AbortController();

function makeDirectory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'soci-probe-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

function hasErofs(): boolean {
  return readFileSync('/proc/filesystems', 'utf8').includes('\terofs\n');
}

inPrivateNamespace(import.meta.filename, () => {
  describe('probeKernel', () => {
    it('finds a kernel with EROFS good, and leaves nothing behind', { skip: hasErofs() ? false : 'no EROFS in this kernel' }, async (t) => {
      const directory = makeDirectory(t);
      const start = performance.now();
      const { mode, reason, resend } = await probeKernel({ directory, log, signal });
      t.diagnostic(`pass in ${Math.round(performance.now() - start)} ms: ${reason}, resend ${resend}`);
      assert.equal(mode, 'erofs', reason);
      assert.deepEqual(readdirSync(directory), []);
      assert.deepEqual(mountsUnder(directory, readMountInfo()), []);
      assert.deepEqual(lines, []);
    });

    it('names what does not work', async (t) => {
      const directory = makeDirectory(t);
      const { mode, reason, resend } = await probeKernel({ directory: directory, log, signal, device: '/no/such/device' });
      assert.deepEqual([mode, resend], ['none', false]);
      assert.match(reason, /ENOENT.*\/no\/such\/device/);
      assert.deepEqual(readdirSync(directory), []);
    });

    it('takes away what a killed probe left', { skip: hasErofs() ? false : 'no EROFS in this kernel' }, async (t) => {
      const directory = makeDirectory(t);
      const left = join(directory, 'probe', 'top');
      mkdirSync(left, { recursive: true });
      mountNow({ source: 'none', target: left, type: 'tmpfs' });
      writeFileSync(join(left, 'file'), 'x');
      assert.equal((await probeKernel({ directory, log, signal })).mode, 'erofs');
      assert.deepEqual(readdirSync(directory), []);
    });

    it('says which mount the kernel refuses', async (t) => {
      const directory = join(makeDirectory(t), 'with,comma'); // which ends a mount option
      mkdirSync(directory);
      const { mode, reason } = await probeKernel({ directory, log, signal });
      assert.equal(mode, 'none');
      assert.match(reason, /^file-backed EROFS with 512-byte blocks: mount/);
      assert.deepEqual(readdirSync(directory), []);
    });

    it('ends when it is told to', async (t) => {
      const directory = makeDirectory(t);
      await assert.rejects(probeKernel({ directory, log, signal: AbortSignal.abort(new Error('enough')) }), /enough/);
      assert.deepEqual(readdirSync(directory), []);
    });
  });
});
