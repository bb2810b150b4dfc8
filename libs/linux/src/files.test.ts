import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  closeSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { punchHole } from './index.ts';
import { diskUsageNow } from './disk-usage.ts';
import { removeTreeNow } from './remove-tree.ts';

function makeDirectory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'soci-linux-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

describe('diskUsageNow', () => {
  it('counts a hard link once, and blocks instead of sizes', (t) => {
    const directory = makeDirectory(t);
    writeFileSync(join(directory, 'a'), randomBytes(10_000));
    linkSync(join(directory, 'a'), join(directory, 'b'));
    mkdirSync(join(directory, 'd'));
    symlinkSync('/nowhere', join(directory, 'd', 'l'));
    const blocks = ['.', 'a', 'd', 'd/l'].map((name) => lstatSync(join(directory, name)).blocks);
    assert.deepEqual(diskUsageNow(directory), { sizeBytes: blocks.reduce((sum, next) => sum + next) * 512, inodes: 4 });
  });

  it('takes names that are no UTF-8', (t) => {
    const directory = makeDirectory(t);
    mkdirSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xfe])]));
    writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xfe, 0x2f, 0xc3])]), 'x');
    assert.equal(diskUsageNow(directory).inodes, 3);
  });

  it('throws for a path that is not there', () => assert.throws(() => diskUsageNow('/no/such/path'), { code: 'ENOENT' }));
});

describe('removeTreeNow', () => {
  it('removes files, links and directories, and never what a link points to', (t) => {
    const directory = makeDirectory(t);
    const kept = join(directory, 'kept');
    const tree = join(directory, 'tree');
    mkdirSync(kept);
    writeFileSync(join(kept, 'file'), 'x');
    mkdirSync(join(tree, 'a', 'b'), { recursive: true });
    symlinkSync(kept, join(tree, 'a', 'link'));
    writeFileSync(join(tree, 'a', 'b', 'c'), 'x');
    chmodSync(join(tree, 'a', 'b'), 0o500);
    removeTreeNow(tree);
    assert.ok(!existsSync(tree));
    assert.equal(readFileSync(join(kept, 'file'), 'utf8'), 'x');
  });

  it('removes a tree that is deeper than a path can be long', (t) => {
    const directory = makeDirectory(t);
    const name = 'n'.repeat(200);
    let tree = join(directory, name);
    for (let depth = 0; depth < 600; depth++) {
      // built from the inside out: each step wraps what is there in one more directory
      const wrapped = join(directory, `w${depth}`);
      mkdirSync(wrapped);
      if (depth > 0) renameSync(tree, join(wrapped, name));
      tree = wrapped;
    }
    removeTreeNow(tree);
    assert.ok(!existsSync(tree));
  });

  it('removes a single file, and takes a missing one for done', (t) => {
    const file = join(makeDirectory(t), 'file');
    writeFileSync(file, 'x');
    removeTreeNow(file);
    removeTreeNow(file);
    assert.ok(!existsSync(file));
  });
});

describe('punchHole', () => {
  it('gives blocks back and leaves zeros', (t) => {
    const path = join(makeDirectory(t), 'file');
    writeFileSync(path, Buffer.alloc(1 << 20, 1));
    const before = statSync(path);
    const fd = openSync(path, 'r+');
    t.after(() => closeSync(fd));
    punchHole(fd, 0, 1 << 19);
    const after = statSync(path);
    assert.equal(after.size, before.size);
    assert.ok(after.blocks < before.blocks);
    assert.equal(readFileSync(path)[0], 0);
  });
});
