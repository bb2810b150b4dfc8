import { availableParallelism } from 'node:os';
import { describeError, hasCode } from '@soci/errors';
import { type Descriptor, MEDIA_TYPE } from '@soci/image';
import type { BuildStores, BuildTools, BuiltZtoc, Settings } from './build-options.ts';
import { IndexError } from './errors.ts';
import { inParallel } from './in-parallel.ts';

/** Above any zTOC of a layer that a registry takes; bounds what a stored one makes us read. */
const MAX_ZTOC_BYTES = 512 * 1024 * 1024;

/** A layer that gets a zTOC, each digest once. */
export interface LayerToBuild {
  readonly layer: Descriptor;
  readonly algorithm: 'gzip' | 'uncompressed';
}

/** A layer's zTOC in the blob store. */
export interface LayerZtoc {
  readonly digest: string;
  readonly sizeBytes: number;
  /** Found in the database, not built now. */
  readonly reused: boolean;
  /** Whether a name or a record of the layer needs extended attributes; undefined when nobody asked. */
  readonly needsXattrs: boolean | undefined;
  /** The zTOC itself, where prefetch files are to be looked up in it. */
  readonly bytes: Uint8Array | undefined;
}

export interface LayerContext {
  readonly stores: BuildStores;
  readonly tools: BuildTools;
  readonly settings: Settings;
  /** Whether a zTOC needs extended attributes; for those that are taken from the store. */
  readonly inspect: (ztoc: Uint8Array) => boolean;
}

/**
 * Builds or finds the zTOC of every layer, several at once, the largest first so that none is left alone at the end, and puts them into the blob store.
 *
 * @returns by layer digest
 * @throws {IndexError} `BUILD_FAILED`, naming each layer that failed; the first failure stops the others
 */
export async function buildLayerZtocs(
  layers: readonly LayerToBuild[],
  context: LayerContext,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, LayerZtoc>> {
  const ztocs = new Map<string, LayerZtoc>();
  const failures: { readonly layerDigest: string; readonly cause: unknown }[] = [];
  const largestFirst = [...layers].sort((a, b) => b.layer.size - a.layer.size);
  const work = async (item: LayerToBuild, stop: AbortSignal): Promise<void> => {
    try {
      ztocs.set(item.layer.digest, (await reuse(item, context, stop)) ?? (await build(item, context, stop)));
    } catch (cause) {
      if (!stop.aborted) failures.push({ layerDigest: item.layer.digest, cause });
      throw cause;
    }
  };
  try {
    await inParallel(largestFirst, context.tools.maxParallelLayers ?? availableParallelism(), work, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (failures.length === 0) throw error;
    const list = failures.map(({ layerDigest, cause }) => `${layerDigest}: ${describeError(cause)}`).join('; ');
    throw new IndexError('BUILD_FAILED', `errors encountered while building soci layers; ${list}`, { cause: error });
  }
  return ztocs;
}

/** The zTOC that an earlier run left for this layer, if its blob is still there and whole. */
async function reuse({ layer }: LayerToBuild, context: LayerContext, signal: AbortSignal): Promise<LayerZtoc | undefined> {
  const { stores, settings, tools } = context;
  if (settings.force) return undefined;
  const known = stores.artifacts?.findZtoc(layer.digest, settings.spanSizeBytes);
  if (known === undefined) return undefined;
  const { digest, sizeBytes } = known;
  const info = await stores.blobs.stat(digest, signal);
  if (info?.sizeBytes !== sizeBytes || !(await isKept(digest, context, signal))) return undefined;
  const inspectXattrs = settings.optimizations.includes('xattr');
  const wantBytes = settings.prefetchPaths.length > 0;
  if (!inspectXattrs && !wantBytes) return { digest, sizeBytes, reused: true, needsXattrs: undefined, bytes: undefined };
  try {
    const bytes = await stores.blobs.read(digest, MAX_ZTOC_BYTES, signal);
    const needsXattrs = inspectXattrs ? context.inspect(bytes) : undefined;
    return { digest, sizeBytes, reused: true, needsXattrs, bytes: wantBytes ? bytes : undefined };
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND', 'DIGEST_MISMATCH', 'INVALID', 'UNSUPPORTED')) throw error;
    tools.log.warn({ digest, layerDigest: layer.digest, error }, 'stored ztoc is not usable, building it again');
    await stores.blobs.delete(digest, signal);
    return undefined;
  }
}

/** What is in the store as a copy of what a registry has goes with its image: from now on it stays. */
async function isKept(digest: string, { stores }: LayerContext, signal: AbortSignal): Promise<boolean> {
  try {
    await stores.blobs.label(digest, {}, signal);
    return true;
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND')) throw error;
    return false;
  }
}

async function build(item: LayerToBuild, context: LayerContext, signal: AbortSignal): Promise<LayerZtoc> {
  const { stores, settings, tools } = context;
  const { layer } = item;
  const built = await buildOne(item, context, signal);
  const descriptor = { mediaType: MEDIA_TYPE.ztoc, digest: built.digest, size: built.bytes.length };
  await stores.blobs.write(descriptor, built.bytes, {}, signal);
  stores.artifacts?.put({
    digest: built.digest,
    kind: 'ztoc',
    sizeBytes: built.bytes.length,
    originalDigest: layer.digest,
    imageDigest: '',
    platform: '',
    location: layer.digest,
    mediaType: MEDIA_TYPE.ztoc,
    artifactType: '',
    createdAt: tools.now?.() ?? new Date(),
    spanSizeBytes: settings.spanSizeBytes,
  });
  return {
    digest: built.digest,
    sizeBytes: built.bytes.length,
    reused: false,
    needsXattrs: built.hasXattrs || built.hasOpaque,
    bytes: settings.prefetchPaths.length > 0 ? built.bytes : undefined,
  };
}

async function buildOne({ layer, algorithm }: LayerToBuild, context: LayerContext, signal: AbortSignal): Promise<BuiltZtoc> {
  const { stores, settings, tools } = context;
  const progress = (bytesRead: number, done: boolean): void =>
    tools.onEvent?.({ kind: 'progress', layerDigest: layer.digest, bytesRead, totalBytes: layer.size, done });
  await using blob = await stores.content.open(layer.digest, signal);
  if (blob.sizeBytes !== layer.size) {
    throw new IndexError('IMAGE_INVALID', `the store holds ${blob.sizeBytes} bytes, the manifest says ${layer.size}`);
  }
  progress(0, false);
  const built = await tools.builder.build(
    blob.path === undefined ? { stream: blob.stream(0, signal) } : { path: blob.path },
    { algorithm, spanSizeBytes: settings.spanSizeBytes, buildTool: settings.buildTool },
    signal,
    (bytesRead) => {
      progress(bytesRead, false);
    },
  );
  progress(layer.size, true);
  return built;
}
