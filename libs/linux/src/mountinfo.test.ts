import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findMount, mountsUnder, parseMountInfo, readMountInfo } from './index.ts';

const TEXT = String.raw`22 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw,errors=remount-ro
30 22 0:21 / /mnt/a\040b\134c ro - fuse.soci soci ro,user_id=0
31 22 0:22 /sub /mnt rw propagate_from:3 - tmpfs none rw
32 31 0:23 / /mnt/x rw - tmpfs none rw
33 31 0:24 / /mnt/x ro - erofs /i.img ro
34 22 0:25 / /mnt2 rw - tmpfs none rw
not a line
35 22 0:26 / /late rw - tmpfs`;

describe('parseMountInfo', () => {
  const mounts = parseMountInfo(TEXT);

  it('skips optional fields, however many there are', () => {
    assert.deepEqual(mounts[0], {
      id: 22,
      parentId: 1,
      device: '254:0',
      root: '/',
      mountPoint: '/',
      options: ['rw', 'relatime'],
      type: 'ext4',
      source: '/dev/root',
      superOptions: ['rw', 'errors=remount-ro'],
    });
    assert.equal(mounts[2]?.root, '/sub');
  });

  it('undoes octal escapes', () => assert.equal(mounts[1]?.mountPoint, '/mnt/a b\\c'));

  it('leaves out lines that are cut or are none', () => assert.equal(mounts.length, 6));

  it('finds the uppermost mount', () => assert.equal(findMount('/mnt/x', mounts)?.type, 'erofs'));

  it('lists what is below, in the order of taking it away, and not a namesake', () => {
    assert.deepEqual(
      mountsUnder('/mnt', mounts).map(({ id }) => id),
      [30, 33, 32, 31],
    );
  });

  it('reads those of this process', () => assert.ok(findMount('/proc', readMountInfo())));
});
