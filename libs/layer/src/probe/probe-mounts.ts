import { closeSync, constants, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FlatFuse, type Miss } from '@soci/fuse';
import { MOUNT_FLAGS, mountsUnder, readMountInfo, removeTreeNow, Syscalls, UMOUNT_FLAGS } from '@soci/linux';
import type { Logger } from '@soci/log';
import { roundUp } from '../layer-data.ts';
import type { ProbeLayer } from './probe-image.ts';

const SLOT = 1;

export interface ProbeMounts extends AsyncDisposable {
  readonly fuse: FlatFuse;
  /** The layer through EROFS and an overlay on it. */
  readonly top: string;
}

export interface ProbeMountsOptions {
  /** A directory that is not there yet, or was left by a probe that was killed. */
  readonly path: string;
  readonly device: string;
  readonly layer: ProbeLayer;
  readonly onMiss: (miss: Miss) => void;
  readonly log: Logger;
}

/**
 * Mounts the layer as a real one is mounted: flat FUSE, EROFS over its two files, an overlay on that. Takes everything away again, also what another
 * probe left here.
 *
 * @throws with what was being mounted, and the errno
 */
export async function mountProbe({ path, device, layer, onMiss, log }: ProbeMountsOptions): Promise<ProbeMounts> {
  await using opened = new AsyncDisposableStack();
  const syscalls = opened.use(new Syscalls());
  const clear = async (): Promise<void> => {
    for (const { mountPoint } of mountsUnder(path, readMountInfo()))
      await syscalls.umount(mountPoint, UMOUNT_FLAGS.force | UMOUNT_FLAGS.detach);
    removeTreeNow(path); // nothing of ours is mounted there any more, or this refuses
  };
  await clear();
  opened.defer(clear);
  const at = (name: string): string => join(path, name);
  for (const name of ['fuse', 'layer', 'below', 'top']) mkdirSync(at(name), { recursive: true, mode: 0o700 });
  writeFileSync(at('names'), layer.names);
  writeFileSync(at('bytes'), layer.bytes);

  const open = (file: string, flags: number): number => {
    const fd = openSync(file, flags);
    opened.defer(() => closeSync(fd));
    return fd;
  };
  const fd = open(device, constants.O_RDWR);
  const [namesFd, bytesFd] = [open(at('names'), constants.O_RDONLY), open(at('bytes'), constants.O_RDONLY)];
  const slot = {
    slot: SLOT,
    namesFd,
    namesSizeBytes: layer.names.length,
    bytesFd,
    bytesSizeBytes: roundUp(layer.bytes.length),
    dataSizeBytes: layer.bytes.length,
    spanStartBytes: share(new Float64Array(new SharedArrayBuffer(layer.spanStartBytes.length * 8)), layer.spanStartBytes),
    present: share(new Int32Array(new SharedArrayBuffer(4)), [1]), // the first span alone
  };
  const fuse = opened.use(await naming('fuse', FlatFuse.serve({ fd, mountPoint: at('fuse'), slots: [slot], syscalls, log, onMiss })));
  const options = `device=${fuse.bytesPath(SLOT)}`;
  const flags = MOUNT_FLAGS.readOnly;
  await naming(
    'file-backed EROFS with 512-byte blocks',
    syscalls.mount({ source: fuse.namesPath(SLOT), target: at('layer'), type: 'erofs', flags, data: options }),
  );
  const data = `lowerdir=${at('layer')}:${at('below')}`;
  await naming('overlay on EROFS', syscalls.mount({ source: 'overlay', target: at('top'), type: 'overlay', flags, data }));
  const rest = opened.move();
  return { fuse, top: at('top'), [Symbol.asyncDispose]: async () => await rest.disposeAsync() };
}

async function naming<T>(what: string, step: Promise<T>): Promise<T> {
  try {
    return await step;
  } catch (cause) {
    throw new Error(what, { cause });
  }
}

function share<T extends { set(values: readonly number[]): void }>(array: T, values: readonly number[]): T {
  array.set(values);
  return array;
}
