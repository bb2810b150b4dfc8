import { readFileSync } from 'node:fs';

/** One line of /proc/self/mountinfo. */
export interface MountInfo {
  readonly id: number;
  readonly parentId: number;
  /** `major:minor` of the filesystem, as st_dev and /sys/class/bdi have it. */
  readonly device: string;
  /** The directory of the filesystem that is mounted: not `/` for a bind mount. */
  readonly root: string;
  readonly mountPoint: string;
  /** `ro,relatime`: options of this mount. */
  readonly options: readonly string[];
  readonly type: string;
  readonly source: string;
  /** Options of the filesystem. */
  readonly superOptions: readonly string[];
}

const MAX_LINE_FIELDS = 64;

/** The mounts of the calling process, in the order in which they were made. Reads procfs alone: no mount is touched. */
export function readMountInfo(path = '/proc/self/mountinfo'): MountInfo[] {
  return parseMountInfo(readFileSync(path, 'utf8'));
}

/**
 * The mounts that name this path, or one below it, anywhere: as their mount point, their source, or in their options. In the order in which they were made;
 * for a caller in a thread that may block, because the table waits while mounts are made and taken away.
 */
export function readMountsNaming(path: string): MountInfo[] {
  const written = escape(path);
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return parseMountInfo(lines.filter((line) => line.includes(written)).join('\n'));
}

/** @see https://docs.kernel.org/filesystems/proc.html (3.5): fields, octal escapes, and the optional fields that end at `-` */
export function parseMountInfo(text: string): MountInfo[] {
  return text.split('\n').flatMap((line) => {
    const mount = parseLine(line);
    return mount === undefined ? [] : [mount];
  });
}

/** The uppermost mount at exactly this path. */
export function findMount(mountPoint: string, mounts: readonly MountInfo[]): MountInfo | undefined {
  return mounts.findLast((mount) => mount.mountPoint === mountPoint);
}

/** The mounts at this path and below it, deepest and last made first: the order in which they can be taken away. */
export function mountsUnder(path: string, mounts: readonly MountInfo[]): MountInfo[] {
  const prefix = path.endsWith('/') ? path : `${path}/`;
  return mounts
    .map((mount, index) => ({ mount, index }))
    .filter(({ mount }) => mount.mountPoint === path || mount.mountPoint.startsWith(prefix))
    .sort((a, b) => b.mount.mountPoint.length - a.mount.mountPoint.length || b.index - a.index)
    .map(({ mount }) => mount);
}

function parseLine(line: string): MountInfo | undefined {
  const fields = line.split(' ', MAX_LINE_FIELDS);
  const separator = fields.indexOf('-', 6);
  const [id, parentId, device, root, mountPoint, options] = fields;
  const [type, source, superOptions] = fields.slice(separator + 1);
  if (separator < 0 || !device || root === undefined || mountPoint === undefined || type === undefined || source === undefined)
    return undefined;
  return {
    id: Number(id),
    parentId: Number(parentId),
    device,
    root: unescape(root),
    mountPoint: unescape(mountPoint),
    options: (options ?? '').split(','),
    type: unescape(type),
    source: unescape(source),
    superOptions: (superOptions ?? '').split(',').map(unescape),
  };
}

/** The kernel writes space, tab, newline and backslash (and `#`) as a backslash and three octal digits. */
function unescape(field: string): string {
  return field.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

/** As `unescape` finds it. */
function escape(path: string): string {
  return path.replace(/[ \t\n\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}
