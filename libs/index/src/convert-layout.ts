import { stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { isNotFound } from '@soci/errors';
import { type Descriptor, encodeIndex, MEDIA_TYPE } from '@soci/image';
import { archiveEntries } from './archive-entries.ts';
import { writeArchive } from './archive-writer.ts';
import type { BuildSettings, BuildTools } from './build-options.ts';
import { type ConvertedImage, convertImage } from './convert.ts';
import type { PlatformChoice } from './create.ts';
import { IndexError } from './errors.ts';
import { listLayoutArchive } from './layout-archive.ts';
import { checkReplaceable, copyLayout, replaceLayout, type Staging, stageBeside, stageIn } from './layout-output.ts';
import { resolveLayoutRoot } from './layout-root.ts';
import { LAYOUT_INDEX, LAYOUT_MARKER, LAYOUT_MARKER_TEXT, type LayoutFiles, listLayoutFolder } from './layout-source.ts';
import { LayoutStore } from './layout-store.ts';

/** `oci-archive` is an uncompressed tar of what the image reaches; `oci-dir` a folder with all that the input held, and what is new. */
export const LAYOUT_FORMATS = ['oci-archive', 'oci-dir'] as const;
export type LayoutFormat = (typeof LAYOUT_FORMATS)[number];

export interface ConvertLayoutOptions extends BuildTools, BuildSettings {
  /** A folder with an OCI image layout, or an uncompressed tar of one. It is only read. */
  readonly input: string;
  /** May be the input: it is replaced when all is done. */
  readonly output: string;
  readonly format: LayoutFormat;
  readonly platforms?: PlatformChoice;
}

/**
 * `soci convert --standalone`: as `convertImage`, from an OCI image layout to another, without containerd. Blobs are read where they are; each is copied at most once.
 *
 * @throws {IndexError} `LAYOUT_INVALID`, `OUTPUT_REFUSED` when the output is neither empty nor a layout, and those of `convertImage`
 */
export async function convertLayout(options: ConvertLayoutOptions, signal: AbortSignal): Promise<ConvertedImage> {
  const isFolder = await isExistingFolder(options.input);
  const files = isFolder ? await listLayoutFolder(options.input, signal) : await listLayoutArchive(options.input, signal);
  if (!files.has(LAYOUT_INDEX)) throw new IndexError('LAYOUT_INVALID', `failed to read index.json from ${options.input}: not there`);
  return options.format === 'oci-dir' ? await toFolder(files, isFolder, options, signal) : await toArchive(files, options, signal);
}

async function toFolder(
  files: LayoutFiles,
  isFolder: boolean,
  options: ConvertLayoutOptions,
  signal: AbortSignal,
): Promise<ConvertedImage> {
  await checkReplaceable(resolve(options.output));
  await using staging = await stageBeside(options.output);
  const { folder } = staging;
  if (!isFolder) await copyLayout(files, folder, signal);
  const source = isFolder ? files : await listLayoutFolder(folder, signal);
  const store = new LayoutStore(source, folder);
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const tasks = [
    convert(source, store, options, both),
    isFolder ? copyLayout(withoutIndex(files), folder, both) : Promise.resolve(),
  ] as const;
  for (const task of tasks) {
    task.catch((error: unknown) => {
      stop.abort(error);
    });
  }
  await Promise.allSettled(tasks);
  const [converted] = await Promise.all(tasks);
  await writeFile(join(folder, LAYOUT_INDEX), indexOf(converted.target));
  if (!source.has(LAYOUT_MARKER)) await writeFile(join(folder, LAYOUT_MARKER), LAYOUT_MARKER_TEXT);
  await replaceLayout(staging, options.output);
  return converted;
}

/** The index is written anew; a copy might be read-only. */
function withoutIndex(files: LayoutFiles): LayoutFiles {
  return new Map([...files].filter(([name]) => name !== LAYOUT_INDEX));
}

async function toArchive(files: LayoutFiles, options: ConvertLayoutOptions, signal: AbortSignal): Promise<ConvertedImage> {
  await using staging = await stageForArchive(options.output);
  const store = new LayoutStore(files, staging.folder);
  const converted = await convert(files, store, options, signal);
  const entries = await archiveEntries(converted.target, store, signal);
  await writeArchive(
    options.output,
    [
      ...entries,
      { name: LAYOUT_INDEX, kind: 'bytes', bytes: indexOf(converted.target), mode: 0o644 },
      { name: LAYOUT_MARKER, kind: 'bytes', bytes: Buffer.from(LAYOUT_MARKER_TEXT), mode: 0o444 },
    ],
    signal,
  );
  return converted;
}

async function convert(
  files: LayoutFiles,
  store: LayoutStore,
  options: ConvertLayoutOptions,
  signal: AbortSignal,
): Promise<ConvertedImage> {
  const target = await resolveLayoutRoot(files, store, signal);
  return await convertImage({ ...options, target, content: store, blobs: store }, signal);
}

/** What is new is small; it waits where temporary files belong, or beside the output on a machine without such a place. */
async function stageForArchive(output: string): Promise<Staging> {
  try {
    return await stageIn(tmpdir(), 'soci-oci-');
  } catch (error) {
    if (!isNotFound(error)) throw error;
    return await stageIn(dirname(resolve(output)), 'soci-oci-');
  }
}

async function isExistingFolder(input: string): Promise<boolean> {
  try {
    return (await stat(input)).isDirectory();
  } catch (cause) {
    throw new IndexError('LAYOUT_INVALID', `failed to access input ${input}`, { cause });
  }
}

function indexOf(target: Descriptor): Uint8Array {
  return encodeIndex({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [target] });
}
