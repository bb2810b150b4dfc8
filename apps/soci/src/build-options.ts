import { readFile } from 'node:fs/promises';
import { describeError, hasCode } from '@soci/errors';
import { parsePlatform, type Platform } from '@soci/image';
import { parseOptimization, type BuildSettings, type PlatformChoice } from '@soci/index';
import { CliError } from './errors.ts';
import type { BuildOptions, PlatformOptions } from './options.ts';

/** How `create` and `convert` build, by their flags. @throws {CliError} `ARGUMENT_INVALID`; {IndexError} `OPTION_INVALID` */
export async function buildSettings(options: BuildOptions): Promise<BuildSettings> {
  const optimizations = (options.optimizations ?? []).map(parseOptimization);
  return {
    spanSizeBytes: options.spanSize,
    minLayerSizeBytes: Number(options.minLayerSize),
    optimizations,
    force: options.force ?? false,
    prefetchPaths: await prefetchPaths(options),
  };
}

/** All platforms before listed ones before the command's default. */
export function platformChoice({ allPlatforms, platform = [] }: PlatformOptions): PlatformChoice {
  if (allPlatforms === true) return 'all';
  return platform.length === 0 ? 'default' : platform.map(readPlatform);
}

/** @throws {CliError} `ARGUMENT_INVALID` */
export function readPlatform(text: string): Platform {
  try {
    return parsePlatform(text);
  } catch (cause) {
    throw new CliError('ARGUMENT_INVALID', `could not parse platform ${text}: ${describeError(cause)}`);
  }
}

async function prefetchPaths({ prefetchFile = [], prefetchFilesJson }: BuildOptions): Promise<readonly string[]> {
  const listed = prefetchFilesJson === undefined || prefetchFilesJson === '' ? [] : await readPrefetchFile(prefetchFilesJson);
  return [...prefetchFile, ...listed].map((path) => path.trim()).filter((path) => path !== '');
}

async function readPrefetchFile(path: string): Promise<readonly string[]> {
  const failed = 'failed to parse prefetch files: failed to load prefetch files from JSON:';
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const why = hasCode(cause, 'ENOENT') ? `${path}: no such file or directory` : describeError(cause);
    throw new CliError('ARGUMENT_INVALID', `${failed} failed to read JSON file: ${why}`);
  }
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value) && value.every((item): item is string => typeof item === 'string')) return value;
    throw new SyntaxError('not an array of strings');
  } catch (cause) {
    throw new CliError('ARGUMENT_INVALID', `${failed} failed to parse JSON: ${path}: ${describeError(cause)}`);
  }
}
