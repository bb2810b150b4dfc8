import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { pattern } from './fake-layer.ts';

/** A tar with most of what layers hold: long names, links, devices, xattrs, and files of many sizes. */
export async function sampleTar(): Promise<Buffer> {
  const tar = pack();
  const mtime = new Date(1_700_000_000_000);
  const add = (header: Parameters<typeof tar.entry>[0], content?: Uint8Array): void => {
    if (content === undefined) tar.entry({ mtime, ...header });
    else tar.entry({ mtime, ...header, size: content.length }, Buffer.from(content));
  };
  add({ name: 'usr/', type: 'directory', mode: 0o755 });
  add({ name: 'usr/bin/', type: 'directory', mode: 0o755 });
  add({ name: 'usr/bin/tool', mode: 0o4755, uid: 0, gid: 0 }, pattern(70_000, 3));
  add({ name: 'usr/bin/alias', type: 'symlink', linkname: 'tool' });
  add({ name: 'usr/bin/twin', type: 'link', linkname: 'usr/bin/tool' });
  add({ name: 'dev/null', type: 'character-device', devmajor: 1, devminor: 3, mode: 0o666 });
  add({ name: 'run/pipe', type: 'fifo' });
  add({ name: `deep/${'long-name-'.repeat(20)}/file`, mode: 0o600, uid: 1000, gid: 100 }, pattern(10, 4));
  add(
    { name: 'caps', pax: { 'SCHILY.xattr.user.note': 'value', 'SCHILY.xattr.security.capability': 'x', comment: 'not an xattr' } },
    pattern(1000, 5),
  );
  for (let i = 0; i < 200; i++) add({ name: `many/${i}`, mode: 0o644, uid: i }, pattern((i * 977) % 9000, i + 10));
  add({ name: 'empty' }, new Uint8Array(0));
  add({ name: 'large.bin' }, pattern(400_000, 6));
  tar.finalize();
  return await buffer(tar);
}
