import type { Platform } from './descriptor.ts';
import { hostPlatform, normalizePlatform } from './platform.ts';

/** Builds of Windows whose hosts run containers of the release before. */
const STABLE_ABI_BUILDS = [20348, 26100] as const;

/**
 * Whether an image for `candidate` is one for exactly `wanted`: the same system, architecture and variant after normalisation, and no system
 * feature that `wanted` lacks. No architecture stands in for another.
 *
 * @see https://github.com/containerd/platforms/blob/main/compare.go `OnlyStrict`
 */
export function matchesPlatform(wanted: Platform, candidate: Platform, host: Platform = hostPlatform()): boolean {
  const want = normalizePlatform(wanted, host);
  const have = normalizePlatform(candidate, host);
  if (want.os !== have.os || want.architecture !== have.architecture || (want.variant ?? '') !== (have.variant ?? '')) return false;
  if (want.os === 'windows' && !matchesWindows(want['os.version'] ?? '', candidate['os.version'] ?? '')) return false;
  const offered = new Set(want['os.features'] ?? []);
  return (have['os.features'] ?? []).every((feature) => offered.has(feature) || (want.os === 'windows' && feature === 'win32k'));
}

/** The platforms without those that mean the same as an earlier one; the first spelling stays. */
export function dedupePlatforms(platforms: readonly Platform[], host: Platform = hostPlatform()): readonly Platform[] {
  const kept: Platform[] = [];
  for (const platform of platforms) {
    if (!kept.some((earlier) => matchesPlatform(earlier, platform, host))) kept.push(platform);
  }
  return kept;
}

interface WindowsVersion {
  readonly major: number;
  readonly minor: number;
  readonly build: number;
}

/** @see https://learn.microsoft.com/virtualization/windowscontainers/deploy-containers/version-compatibility */
function matchesWindows(wanted: string, candidate: string): boolean {
  const host = windowsVersion(wanted);
  if (host === undefined || candidate === '') return true;
  const image = windowsVersion(candidate) ?? { major: 0, minor: 0, build: 0 };
  if (host.major !== image.major || host.minor !== image.minor) return false;
  const generation = STABLE_ABI_BUILDS.findLastIndex((build) => host.build >= build);
  if (generation < 0) return host.build === image.build;
  const floor = STABLE_ABI_BUILDS[Math.max(0, generation - 1)] ?? 0;
  return floor <= image.build && image.build <= host.build;
}

function windowsVersion(text: string): WindowsVersion | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:\.|$)/.exec(text);
  if (match === null) return undefined;
  const [major, minor, build] = match.slice(1, 4).map(Number);
  return major === undefined || minor === undefined || build === undefined ? undefined : { major, minor, build };
}
