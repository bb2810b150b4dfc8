import { readdir } from 'node:fs/promises';
import { hasCode } from '@soci/errors';
import { ImageError, parseReference } from '@soci/image';
import { images, namespaces } from '@soci/proto';
import { NAMESPACE_HEADER, RpcError } from '@soci/rpc';
import type { DoctorContext } from './doctor-context.ts';

export interface ConfiguredRegistries {
  /** `[resolver] config_path` */
  readonly configPath: string;
  /** Registries of `[resolver.host]`. */
  readonly mirrors: readonly string[];
}

const MAX_REGISTRIES = 16;
const MAX_NAMESPACES = 32;
const DEFAULT_FOLDER = '_default';
const HUB_HOSTS = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];

/** Registries that are named, configured or in use by an image, in that order; a bounded number. */
export async function knownRegistries(
  context: DoctorContext,
  { configPath, mirrors }: ConfiguredRegistries,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const roots = configPath.split(':').filter((root) => root !== '');
  const folders = (await Promise.all(roots.map(foldersOf))).flat();
  const used = await registriesInUse(context, signal);
  const all = [...context.options.registries, ...mirrors, ...folders, ...used].map(canonical);
  return [...new Set(all)].slice(0, MAX_REGISTRIES);
}

/** A folder for a registry with a port may be called `host_5000_`, since a colon is no name everywhere. */
async function foldersOf(root: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(root, { withFileTypes: true });
    return entries
      .filter((entry) => entry.name !== DEFAULT_FOLDER && !entry.isFile())
      .map(({ name }) => name.replace(/_(\d+)_$/, ':$1'))
      .sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return [];
    throw error;
  }
}

async function registriesInUse({ containerd }: DoctorContext, signal: AbortSignal): Promise<readonly string[]> {
  try {
    const listed = await containerd.client(namespaces.NamespacesService).list({ filter: '' }, { signal });
    const names = listed.namespaces.map(({ name }) => name).slice(0, MAX_NAMESPACES);
    const perNamespace = names.map(async (name) => {
      const client = containerd.withHeaders({ [NAMESPACE_HEADER]: name }).client(images.ImagesService);
      return (await client.list({ filters: [] }, { signal })).images.flatMap((image) => registryOf(image.name));
    });
    return (await Promise.all(perNamespace)).flat();
  } catch (error) {
    if (error instanceof RpcError) return []; // other checks say that containerd does not answer
    throw error;
  }
}

function registryOf(name: string): readonly string[] {
  try {
    return /^[^/]*[.:][^/]*\/|^localhost\//.test(name) ? [parseReference(name).host] : []; // CRI also keeps bare ids
  } catch (error) {
    if (error instanceof ImageError) return [];
    throw error;
  }
}

function canonical(host: string): string {
  const lower = host.toLowerCase();
  return HUB_HOSTS.includes(lower) ? 'docker.io' : lower;
}
