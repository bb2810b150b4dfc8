import { posix } from 'node:path';
import type { Platform } from './descriptor.ts';
import { ImageError } from './errors.ts';

const OS_COMPONENT = /^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$/;
const COMPONENT = /^[A-Za-z0-9_.-]+$/;
const MAX_PLATFORM_LENGTH = 256;

const KNOWN_OS = new Set(
  'aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos'.split(' '),
);
const KNOWN_ARCHITECTURES = new Set(
  (
    '386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le ' +
    'ppc riscv riscv64 s390 s390x sparc sparc64 wasm'
  ).split(' '),
);

/** Node's names of architectures that Go names otherwise. */
const GO_ARCHITECTURE: ReadonlyMap<string, string> = new Map([
  ['x64', 'amd64'],
  ['ia32', '386'],
  ['mipsel', 'mipsle'],
]);

/** The platform of this machine, as containerd names it: on 64-bit ARM with variant `v8`, on 32-bit ARM with `v7`. */
export function hostPlatform(architecture: string = process.arch, os: string = process.platform): Platform {
  const name = GO_ARCHITECTURE.get(architecture) ?? architecture;
  return make(os === 'win32' ? 'windows' : os, name, name === 'arm64' ? 'v8' : name === 'arm' ? 'v7' : '');
}

/**
 * Parses `linux/arm64/v8`, `linux/amd64`, `arm64`, `linux`, `windows(10.0.17763)/amd64`.
 *
 * @param host fills in what is left out
 * @throws {ImageError} `PLATFORM_INVALID`
 * @see https://github.com/containerd/platforms/blob/main/platforms.go
 */
export function parsePlatform(text: string, host: Platform = hostPlatform()): Platform {
  if (text.length > MAX_PLATFORM_LENGTH) throw invalid(text, `longer than ${MAX_PLATFORM_LENGTH} characters`);
  if (text.includes('*')) throw invalid(text, 'wildcards not yet supported');
  const [first = '', second, variant, ...more] = text.split('/');
  const os = OS_COMPONENT.exec(first);
  if (os === null) throw invalid(text, 'invalid OS component');
  for (const part of [second, variant, ...more]) {
    if (part !== undefined && !COMPONENT.test(part)) throw invalid(text, `invalid component ${JSON.stringify(part)}`);
  }
  if (more.length > 0) throw invalid(text, 'cannot parse platform specifier');

  const osName = normalizeOs(os[1] ?? '', host);
  const version = decodeOption(text, os[2] ?? '');
  const features = (os[3] ?? '')
    .split('+')
    .slice(1)
    .map((feature) => decodeOption(text, feature));
  const extra = {
    ...(version === '' ? {} : { 'os.version': version }),
    ...(features.length === 0 ? {} : { 'os.features': features }),
  };
  if (second !== undefined) {
    const arch = normalizeArchitecture(second, variant ?? '');
    if (variant === undefined) return { ...make(osName, arch.architecture, dropDefaultArm(arch)), ...extra };
    return { ...make(osName, arch.architecture, arch.architecture === 'arm64' && arch.variant === '' ? 'v8' : arch.variant), ...extra };
  }
  if (KNOWN_OS.has(osName)) {
    const hostVariant = host.architecture === 'arm' && host.variant !== 'v7' ? (host.variant ?? '') : '';
    return { ...make(osName, host.architecture, hostVariant), ...extra };
  }
  const arch = normalizeArchitecture(first, '');
  if (!KNOWN_ARCHITECTURES.has(arch.architecture)) throw invalid(text, 'unknown operating system or architecture');
  return { ...make(host.os, arch.architecture, dropDefaultArm(arch)), ...extra };
}

/** `linux/arm64/v8`; `unknown` for a platform without an operating system. Versions and features of the operating system are not shown. */
export function formatPlatform(platform: Platform): string {
  return platform.os === '' ? 'unknown' : posix.join(platform.os, platform.architecture, platform.variant ?? '');
}

/** The one spelling of each platform: `aarch64` with `8` is `arm64` without a variant, `arm` alone is `arm/v7`. */
export function normalizePlatform(platform: Platform, host: Platform = hostPlatform()): Platform {
  const { architecture, variant } = normalizeArchitecture(platform.architecture, platform.variant ?? '');
  const features = [...new Set(platform['os.features'] ?? [])].sort();
  return {
    ...make(normalizeOs(platform.os, host), architecture, variant),
    ...(platform['os.version'] === undefined ? {} : { 'os.version': platform['os.version'] }),
    ...(features.length === 0 ? {} : { 'os.features': features }),
  };
}

function make(os: string, architecture: string, variant: string): Platform {
  return { architecture, os, ...(variant === '' ? {} : { variant }) };
}

function normalizeOs(os: string, host: Platform): string {
  if (os === '') return host.os;
  const lower = os.toLowerCase();
  return lower === 'macos' ? 'darwin' : lower;
}

interface Architecture {
  readonly architecture: string;
  readonly variant: string;
}

function normalizeArchitecture(architecture: string, variant: string): Architecture {
  const arch = architecture.toLowerCase();
  const lower = variant.toLowerCase();
  switch (arch) {
    case 'i386':
      return { architecture: '386', variant: '' };
    case 'x86_64':
    case 'x86-64':
    case 'amd64':
      return { architecture: 'amd64', variant: lower === 'v1' ? '' : lower };
    case 'aarch64':
    case 'arm64':
      if (['8', 'v8', 'v8.0'].includes(lower)) return { architecture: 'arm64', variant: '' };
      return { architecture: 'arm64', variant: ['9', '9.0', 'v9.0'].includes(lower) ? 'v9' : lower };
    case 'armhf':
      return { architecture: 'arm', variant: 'v7' };
    case 'armel':
      return { architecture: 'arm', variant: 'v6' };
    case 'arm':
      if (lower === '' || lower === '7') return { architecture: 'arm', variant: 'v7' };
      return { architecture: 'arm', variant: ['5', '6', '8'].includes(lower) ? `v${lower}` : lower };
    default:
      return { architecture: arch, variant: lower };
  }
}

function dropDefaultArm({ architecture, variant }: Architecture): string {
  return architecture === 'arm' && variant === 'v7' ? '' : variant;
}

function decodeOption(text: string, option: string): string {
  try {
    return decodeURIComponent(option);
  } catch (cause) {
    throw new ImageError('PLATFORM_INVALID', `platform ${JSON.stringify(text)}: invalid OS version or feature`, { cause });
  }
}

function invalid(text: string, why: string): ImageError {
  return new ImageError('PLATFORM_INVALID', `platform ${JSON.stringify(text.slice(0, MAX_PLATFORM_LENGTH))}: ${why}`);
}
