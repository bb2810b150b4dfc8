import { glob, readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { parseToml, TomlError } from '@soci/config';
import { describeError } from '@soci/errors';

/** What matters here of containerd's configuration, whatever its version, imported files included. */
export interface ContainerdConfig {
  /** In the order in which they are read; what a later one says counts. */
  readonly files: readonly string[];
  /** Of the first file: 1 where it names none. */
  readonly version: number;
  /** `[proxy_plugins]` by name. */
  readonly proxyPlugins: ReadonlyMap<string, ProxyPlugin>;
  readonly cri: CriImages;
  /** Snapshotters that the transfer service unpacks for. */
  readonly transferSnapshotters: readonly string[];
}

export interface ProxyPlugin {
  readonly type: string | undefined;
  readonly address: string | undefined;
  readonly exports: Readonly<Record<string, unknown>>;
}

/** How Kubernetes' pulls are done. */
export interface CriImages {
  readonly isDisabled: boolean;
  /** As its heading stands in the file, for cures. */
  readonly table: string;
  readonly snapshotter: string | undefined;
  /** Of runtimes or their platforms with one of their own. */
  readonly runtimeSnapshotters: readonly string[];
  readonly disableSnapshotAnnotations: boolean | undefined;
}

/** Why containerd's configuration cannot be read. */
export class ContainerdConfigError extends Error {
  override readonly name = 'ContainerdConfigError';
}

type Table = Readonly<Record<string, unknown>>;

const MAX_FILES = 64;
const MAX_BYTES = 1 << 20;
const CRI_V2 = 'io.containerd.grpc.v1.cri';
const CRI_V3 = 'io.containerd.cri.v1.images';
const TRANSFER = 'io.containerd.transfer.v1.local';
/** Names under which `disabled_plugins` may mean the CRI plugin. */
const CRI_NAMES = ['cri', CRI_V2, CRI_V3];

/**
 * Reads a configuration of containerd 1.x (versions 1 and 2) or 2.x (3 and later) and what it imports.
 * @see https://github.com/containerd/containerd/blob/main/docs/man/containerd-config.toml.5.md
 * @throws {ContainerdConfigError}
 */
export async function readContainerdConfig(path: string): Promise<ContainerdConfig> {
  const files = new Map<string, Table>();
  await load(path, files);
  const tables = [...files.values()];
  const version = versionOf(tables[0] ?? {});
  const cris = tables.map(criOf);
  const proxyPlugins = new Map(tables.flatMap(proxyPluginsOf));
  return {
    files: [...files.keys()],
    version,
    proxyPlugins,
    cri: {
      isDisabled: tables.some((table) => CRI_NAMES.some((name) => list(table.disabled_plugins).includes(name))),
      table: version >= 3 ? `[plugins."${CRI_V3}"]` : `[plugins.${version === 1 ? 'cri' : `"${CRI_V2}"`}.containerd]`,
      snapshotter: last(cris.map(({ snapshotter }) => snapshotter)),
      runtimeSnapshotters: cris.flatMap(({ runtimeSnapshotters }) => runtimeSnapshotters),
      disableSnapshotAnnotations: last(cris.map(({ disableSnapshotAnnotations }) => disableSnapshotAnnotations)),
    },
    transferSnapshotters: tables.flatMap(transferSnapshottersOf),
  };
}

async function load(path: string, files: Map<string, Table>): Promise<void> {
  if (files.has(path)) return;
  if (files.size >= MAX_FILES) throw new ContainerdConfigError(`${path}: more than ${MAX_FILES} files are imported`);
  const table = await parseFile(path);
  files.set(path, table);
  for (const pattern of list(table.imports)) {
    const absolute = isAbsolute(pattern) ? pattern : join(dirname(path), pattern);
    if (!absolute.includes('*')) await load(absolute, files);
    else for (const match of (await Array.fromAsync(glob(absolute))).sort()) await load(match, files);
  }
}

async function parseFile(path: string): Promise<Table> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new ContainerdConfigError(describeError(cause), { cause });
  }
  if (text.length > MAX_BYTES) throw new ContainerdConfigError(`${path}: longer than ${MAX_BYTES} bytes`);
  try {
    return parseToml(text);
  } catch (cause) {
    const where = cause instanceof TomlError ? `${path}:${cause.line}:${cause.column}` : path;
    throw new ContainerdConfigError(`${where}: not valid TOML`, { cause });
  }
}

function proxyPluginsOf(file: Table): readonly (readonly [string, ProxyPlugin])[] {
  return Object.entries(at(file, 'proxy_plugins')).map(([name, value]) => {
    const plugin = toTable(value);
    return [name, { type: text(plugin.type), address: text(plugin.address), exports: at(plugin, 'exports') }];
  });
}

type OneCri = Pick<CriImages, 'snapshotter' | 'runtimeSnapshotters' | 'disableSnapshotAnnotations'>;

/** A file of an older version is brought up to date by containerd; tables of the newer one are then understood as well. */
function criOf(file: Table): OneCri {
  const version = versionOf(file);
  const old = version === 1 ? at(file, 'plugins', 'cri', 'containerd') : version === 2 ? at(file, 'plugins', CRI_V2, 'containerd') : {};
  const current = version === 1 ? {} : at(file, 'plugins', CRI_V3);
  const runtimes = [...Object.values(at(old, 'runtimes')), ...Object.values(at(current, 'runtime_platforms'))];
  return {
    snapshotter: text(current.snapshotter) ?? text(old.snapshotter),
    runtimeSnapshotters: runtimes.flatMap((runtime) => text(toTable(runtime).snapshotter) ?? []),
    disableSnapshotAnnotations: flag(current.disable_snapshot_annotations) ?? flag(old.disable_snapshot_annotations),
  };
}

function transferSnapshottersOf(file: Table): readonly string[] {
  const configs = at(file, 'plugins', TRANSFER).unpack_config;
  return Array.isArray(configs) ? configs.flatMap((config) => text(toTable(config).snapshotter) ?? []) : [];
}

function versionOf({ version }: Table): number {
  return typeof version === 'number' && version > 0 ? version : 1;
}

function at(table: Table, ...keys: readonly string[]): Table {
  return keys.reduce((inner, key) => toTable(Object.hasOwn(inner, key) ? inner[key] : undefined), table);
}

function toTable(value: unknown): Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Table) : {};
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function flag(value: unknown): boolean | undefined {
  return typeof value === 'boolean' ? value : undefined;
}

function list(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function last<T>(values: readonly (T | undefined)[]): T | undefined {
  return values.findLast((value) => value !== undefined);
}
