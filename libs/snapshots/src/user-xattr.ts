import { readFile, statfs } from 'node:fs/promises';
import { release } from 'node:os';
import { isNotFound } from '@soci/errors';

const TMPFS_MAGIC = 0x01021994;
const WHOLE_ID_RANGE = 4_294_967_295;

/**
 * Whether overlays need the option `userxattr`: inside a user namespace, from kernel 5.11 on, and not on tmpfs, which has no user xattrs.
 * @see https://docs.kernel.org/filesystems/overlayfs.html
 */
export async function needsUserXattr(root: string): Promise<boolean> {
  if (!(await isInUserNamespace())) return false;
  if ((await statfs(root)).type === TMPFS_MAGIC) return false;
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 5 || (major === 5 && minor >= 11);
}

async function isInUserNamespace(): Promise<boolean> {
  try {
    const [inside, outside, length] = (await readFile('/proc/self/uid_map', 'utf8')).trim().split(/\s+/).map(Number);
    return !(inside === 0 && outside === 0 && length === WHOLE_ID_RANGE);
  } catch (cause) {
    if (isNotFound(cause)) return false; // a kernel without user namespaces
    throw cause;
  }
}
