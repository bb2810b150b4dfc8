import { release } from 'node:os';
import { gunzipSync } from 'node:zlib';
import { ok, problem, warning, type Check, type Verdict } from './check.ts';
import type { DoctorContext } from './doctor-context.ts';

/** Where EROFS mounts files, and FUSE sends unanswered requests again (6.9). */
const MIN_VERSION = [6, 12] as const;
const MAX_KERNEL_CONFIG_BYTES = 4 << 20;

/** The version of the kernel. What it does with layers is tried out by the service itself. */
export const kernel: Check = {
  name: 'kernel',
  run: async (context) => {
    const version = (await context.readSystemFile('/proc/sys/kernel/osrelease'))?.toString('utf8').trim() ?? release();
    const [major = 0, minor = 0] = version.split(/[.-]/).map(Number);
    const [wantMajor, wantMinor] = MIN_VERSION;
    if (major > wantMajor || (major === wantMajor && minor >= wantMinor)) return ok(`Linux ${version}`);
    return problem(`Linux ${version} is older than ${MIN_VERSION.join('.')}: images are pulled plainly`, 'boot a newer kernel');
  },
};

export const erofs: Check = {
  name: 'erofs',
  run: async (context) => {
    const verdict = await fileSystem(context, 'erofs', 'CONFIG_EROFS_FS');
    if (verdict.outcome !== 'ok') return verdict;
    const setting = await kernelSetting(context, 'CONFIG_EROFS_FS_BACKED_BY_FILE');
    if (setting !== 'n') return verdict;
    return problem('the kernel mounts EROFS from block devices alone', 'boot a kernel with CONFIG_EROFS_FS_BACKED_BY_FILE=y');
  },
};

export const fuse: Check = { name: 'fuse', run: (context) => fileSystem(context, 'fuse', 'CONFIG_FUSE_FS') };

export const overlay: Check = { name: 'overlay', run: (context) => fileSystem(context, 'overlay', 'CONFIG_OVERLAY_FS') };

async function fileSystem(context: DoctorContext, name: string, option: string): Promise<Verdict> {
  const known = (await context.readSystemFile('/proc/filesystems'))?.toString('utf8') ?? '';
  if (new RegExp(`^(?:nodev)?\\s+${name}$`, 'm').test(known)) return ok(`the kernel has ${name}`);
  switch (await kernelSetting(context, option)) {
    case 'm':
      return warning(
        `the module ${name} is not loaded`,
        `modprobe ${name}, and name it in /etc/modules-load.d so that it is loaded at boot`,
      );
    case 'n':
      return problem(`the kernel was built without ${name}`, `boot a kernel with ${option}`);
    default:
      return problem(`the kernel has no ${name}`, `modprobe ${name}; if there is no such module, boot a kernel with ${option}`);
  }
}

/** How the running kernel was built, where that can be found out. */
async function kernelSetting(context: DoctorContext, option: string): Promise<'y' | 'm' | 'n' | undefined> {
  const packed = await context.readSystemFile('/proc/config.gz');
  const bytes = packed === undefined ? await context.readSystemFile(`/boot/config-${release()}`) : unpack(packed);
  if (bytes === undefined || bytes.length === 0) return undefined;
  const value = new RegExp(`^${option}=([ym])$`, 'm').exec(bytes.toString('utf8'))?.[1];
  return value === 'y' || value === 'm' ? value : 'n';
}

function unpack(packed: Buffer): Buffer {
  return gunzipSync(packed, { maxOutputLength: MAX_KERNEL_CONFIG_BYTES });
}
