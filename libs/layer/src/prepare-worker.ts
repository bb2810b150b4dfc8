import { hash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { describeError, isNotFound } from '@soci/errors';
import { IMAGE_VERSION, writeImage } from '@soci/erofs';
import { buildTree, impliedKey } from '@soci/tree';
import { Ztoc } from '@soci/ztoc';
import { LayerError, type LayerErrorCode } from './errors.ts';
import { KeptTrees } from './kept-trees.ts';
import { type LayerPaths, roundUp } from './layer-data.ts';
import { isZtocOfKey } from './layer-key.ts';
import { makeSpanIndex } from './make-span-index.ts';
import { readFully } from './read-fully.ts';
import { dataLength, readSpanIndex, type SpanIndex } from './span-index.ts';

/** A layer below, whose zTOC is on disk. */
export interface LowerLayer {
  readonly key: string;
  readonly ztocPath: string;
}

export interface PrepareJob {
  readonly id: number;
  readonly key: string;
  readonly folder: string;
  readonly paths: LayerPaths;
  /** The zTOC as it was fetched; absent: it is on disk already. */
  readonly ztoc?: {
    readonly bytes: Uint8Array;
    readonly digest: string;
    /** Of the layer's blob, where it is known. */
    readonly sizeBytes?: number | undefined;
  };
  /** Layers below, nearest first. */
  readonly lowers: readonly LowerLayer[];
  /** Name without the key and the suffix. */
  readonly namesPrefix: string;
  /** For files that are moved to their place when they are whole. */
  readonly temporaryPath: string;
  /** The layer's tar, whole: the checksums of its spans are wanted. */
  readonly tarPath?: string;
  /** Checksums of the names images that were written, by implied key: one that is not the file's is written again. */
  readonly namesChecksums: ReadonlyMap<string, number>;
}

export type PrepareResult =
  | ({ readonly id: number } & Prepared)
  | { readonly id: number; readonly code: LayerErrorCode; readonly message: string };

export interface Prepared {
  readonly impliedKey: string;
  readonly namesChecksum: number;
  /** Of each span of `tarPath`; empty without one. */
  readonly spanChecksums: Uint32Array;
  /** Files that were written, and are not yet known to be on disk. */
  readonly written: readonly string[];
}

/** The key of an image that took nothing from the layers below. */
export const NO_IMPLIED_KEY = '0';
/** Ends the key of a names image: another writer makes another image beside it. Hexadecimal as the rest. */
export const WRITER = IMAGE_VERSION.toString(16).padStart(2, '0');
/** Inodes of trees that are kept for the layers above: some 100 bytes each. */
const MAX_KEPT_INODES = 1_000_000;

const trees = new KeptTrees(MAX_KEPT_INODES);
const port = parentPort;

port?.on('message', (job: PrepareJob) => port.postMessage(run(job)));

function run(job: PrepareJob): PrepareResult {
  try {
    return { id: job.id, ...prepare(job) };
  } catch (error) {
    return { id: job.id, code: codeOf(error), message: `layer ${job.key}: ${describeError(error)}` };
  }
}

function prepare({
  key: layer,
  folder,
  paths,
  ztoc: given,
  lowers,
  namesPrefix,
  namesChecksums,
  temporaryPath,
  tarPath,
}: PrepareJob): Prepared {
  const written: string[] = [];
  const write = (path: string, bytes: Uint8Array): void => {
    writeWhole(temporaryPath, path, bytes);
    written.push(path);
  };
  const bytes = given?.bytes ?? readZtoc(layer, paths.ztoc);
  if (given !== undefined && `sha256:${hash('sha256', given.bytes)}` !== given.digest)
    throw new LayerError('DIGEST_MISMATCH', `zTOC ${given.digest}: digest mismatch`);
  const ztoc = Ztoc.parse(bytes);
  if (given?.sizeBytes !== undefined && given.sizeBytes !== ztoc.compressedSizeBytes)
    throw new LayerError('ZTOC_INVALID', `zTOC is of a blob of ${ztoc.compressedSizeBytes} bytes, not ${given.sizeBytes}`);
  const columns = ztoc.columns();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (given !== undefined && readIfThere(paths.ztoc)?.equals(given.bytes) !== true) write(paths.ztoc, given.bytes);
  let index = readIndex(paths.index);
  if (index === undefined) {
    index = makeSpanIndex(ztoc, columns);
    write(paths.index, new Uint8Array(index.shared));
  }
  const spanChecksums = tarPath === undefined ? new Uint32Array(0) : checksumsOf(tarPath, index);
  const below = lowers.map(({ key, ztocPath }) => ({ key, build: () => buildTree(Ztoc.parse(readZtoc(key, ztocPath)).columns()) }));
  const tree = trees.above({ key: layer, build: () => buildTree(columns) }, below);
  const key = `${impliedKey(tree) || NO_IMPLIED_KEY}${WRITER}`;
  const namesPath = `${namesPrefix}${key}.erofs`;
  const expected = namesChecksums.get(key);
  const found = expected === undefined ? undefined : readIfThere(namesPath);
  if (found !== undefined && crc32(found) === expected) return { impliedKey: key, namesChecksum: expected, spanChecksums, written };
  const image = writeImage(tree, { deviceSizeBytes: roundUp(ztoc.streamEndBytes) });
  write(namesPath, image);
  return { impliedKey: key, namesChecksum: crc32(image), spanChecksums, written };
}

/** What is on disk has to be what was fetched: a power failure may have left a part of it, which can look like a zTOC with other names. */
function readZtoc(key: string, path: string): Uint8Array {
  const bytes = readFileSync(path);
  if (!isZtocOfKey(key, hash('sha256', bytes))) throw new LayerError('STORE_BROKEN', `layer ${key}: zTOC on disk is damaged`);
  return bytes;
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function readIndex(path: string): SpanIndex | undefined {
  const bytes = readIfThere(path);
  try {
    return bytes === undefined ? undefined : readSpanIndex(bytes);
  } catch (error) {
    if (error instanceof LayerError) return undefined; // damaged: it is made again
    throw error;
  }
}

function checksumsOf(tarPath: string, index: SpanIndex): Uint32Array {
  const checksums = new Uint32Array(index.spanCount);
  const fd = openSync(tarPath, 'r');
  try {
    for (let span = 0; span < index.spanCount; span++) {
      checksums[span] = crc32(readFully(fd, new Uint8Array(dataLength(index, span)), index.startBytes[span] ?? 0));
    }
  } finally {
    closeSync(fd);
  }
  return checksums;
}

function writeWhole(temporaryPath: string, path: string, bytes: Uint8Array): void {
  const fd = openSync(temporaryPath, 'w', 0o600);
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  } finally {
    closeSync(fd);
  }
  renameSync(temporaryPath, path);
}

/** What the zTOC and tree libraries refuse cannot be served; a file that is missing went with its layer; the rest is the disk. */
function codeOf(error: unknown): LayerErrorCode {
  if (error instanceof LayerError) return error.code;
  if (isNotFound(error)) return 'NOT_FOUND';
  if (error instanceof Error && error.name === 'ZtocError') return 'ZTOC_INVALID';
  return error instanceof Error && (error.name === 'TreeError' || error.name === 'ErofsError') ? 'NOT_SERVABLE' : 'STORE_BROKEN';
}
