import { readFile } from 'node:fs/promises';
import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { isNotFound } from '@soci/errors';
import { toCamel, type Camel } from './camel.ts';
import { conformKeys, isTable, type UnknownKey } from './conform.ts';
import { ConfigError } from './errors.ts';
import { configSchema, KEYS_WITHOUT_EFFECT, type ConfigFile } from './schema.ts';

/** What config.toml says, with every default filled in. Names carry their units: `mountTimeoutSec`. */
export type SnapshotterConfig = Camel<ConfigFile>;

export interface LoadedConfig {
  readonly config: SnapshotterConfig;
  /** The same as the file spells it, for `config dump`. */
  readonly file: ConfigFile;
  /** One sentence each, to be logged once at start: unknown keys, and keys that do nothing here. */
  readonly warnings: readonly string[];
}

export interface LoadOptions {
  /** A missing file at this path means: all defaults. */
  readonly defaultPath: string;
  /** Unknown keys are an error. */
  readonly strict?: boolean;
}

/** The longest config.toml that is read. */
const MAX_CONFIG_BYTES = 1 << 20;
/** More unknown keys than these are only counted. */
const MAX_UNKNOWN_TOLD = 50;
/** A longer key is cut in messages, and its line not looked for. */
const MAX_KEY_CHARACTERS = 200;

/**
 * Reads a config.toml by the rules of the Go snapshotter: keys match exactly, then in any case; an explicit 0 stands for the default where the reference says so.
 * @throws {ConfigError} `NOT_FOUND`, `INVALID`, `UNKNOWN_KEY` (only when strict)
 */
export async function loadConfig(path: string, options: LoadOptions): Promise<LoadedConfig> {
  let source: string;
  try {
    source = await readFile(path, 'utf8');
  } catch (cause) {
    if (!isNotFound(cause)) throw new ConfigError('INVALID', `failed to open config file ${path}`, { cause });
    if (path !== options.defaultPath) throw new ConfigError('NOT_FOUND', `failed to open config file ${path}: no such file`, { cause });
    source = '';
  }
  return parseConfig(source, path, options);
}

/** Like `loadConfig` for text that is at hand; `path` names it in messages. */
export function parseConfig(source: string, path: string, { strict = false }: Pick<LoadOptions, 'strict'> = {}): LoadedConfig {
  if (source.length > MAX_CONFIG_BYTES) throw new ConfigError('INVALID', `config file ${path}: longer than ${MAX_CONFIG_BYTES} bytes`);
  let parsed: unknown;
  try {
    parsed = parse(source);
  } catch (cause) {
    const where = cause instanceof TomlError ? `${path}:${cause.line}:${cause.column}` : path;
    throw new ConfigError('INVALID', `config file ${where}: not valid TOML`, { cause });
  }
  const { value, unknown } = conformKeys(parsed, configSchema);
  const unknownTexts = describeAll(unknown, path, source);
  if (strict && unknownTexts[0] !== undefined) throw new ConfigError('UNKNOWN_KEY', unknownTexts.join('; '));
  const result = configSchema.safeParse(value);
  if (!result.success)
    throw new ConfigError('INVALID', `config file ${path}: ${z.prettifyError(result.error).replaceAll(/\s*\n\s*/g, ' ')}`);
  return { config: toCamel(result.data), file: result.data, warnings: [...unknownTexts, ...withoutEffect(value, path)] };
}

function describeAll(unknown: readonly UnknownKey[], path: string, source: string): string[] {
  const told = unknown.slice(0, MAX_UNKNOWN_TOLD).map((key) => describeUnknown(key, path, source));
  const more = unknown.length - told.length;
  return more === 0 ? told : [...told, `config file ${path}: ${more} more unknown keys`];
}

function describeUnknown({ path: key, nearest }: UnknownKey, path: string, source: string): string {
  const isLong = key.length > MAX_KEY_CHARACTERS;
  const line = isLong ? undefined : lineOf(key, source);
  const shown = isLong ? `${key.slice(0, MAX_KEY_CHARACTERS)}...` : key;
  return `config file ${path}${line === undefined ? '' : `:${line}`}: unknown key ${shown}${nearest === undefined ? '' : `, did you mean ${nearest}?`}`;
}

/** The first line on which the last part of a dotted key is set or opened as a table. */
function lineOf(key: string, source: string): number | undefined {
  const last = RegExp.escape(key.slice(key.lastIndexOf('.') + 1));
  const pattern = new RegExp(`^\\s*(\\[[^\\]]*\\b${last}"?\\]|"?${last}"?\\s*=)`);
  const index = source.split('\n').findIndex((line) => pattern.test(line));
  return index < 0 ? undefined : index + 1;
}

function withoutEffect(value: unknown, path: string): string[] {
  return [...KEYS_WITHOUT_EFFECT]
    .filter(([key]) => isSet(value, key.split('.')))
    .map(([key, why]) => `config file ${path}: ${key} has no effect: ${why}`);
}

function isSet(value: unknown, [key, ...rest]: readonly string[]): boolean {
  if (key === undefined) return true;
  return isTable(value) && Object.hasOwn(value, key) && isSet(value[key], rest);
}
