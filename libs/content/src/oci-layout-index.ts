import { randomBytes } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, isNotFound } from '@soci/errors';
import { encodeIndex, parseIndex, type Descriptor, type Index } from '@soci/image';
import { ContentError } from './errors.ts';
import type { ImageRecord, ImageStore } from './image-store.ts';

const REF_NAME = 'org.opencontainers.image.ref.name';
/** Below what readers of an index accept; of the entries without a name the oldest go first. */
const MAX_ENTRIES = 4_000;
const EMPTY: Index = { schemaVersion: 2, manifests: [] };

/**
 * `index.json` of an OCI layout: every manifest that was stored, and the names that some of them have.
 *
 * Each change reads the file and replaces it as a whole. Changes of one process wait for each other; of two that come from different processes at the same moment
 * one may get lost, as with the Go tool. Blobs are found by digest alone, so that costs an entry in a list, never a blob.
 */
export class OciLayoutIndex implements ImageStore {
  readonly #root: string;
  #changes: Promise<void> = Promise.resolve();

  constructor(root: string) {
    this.#root = root;
  }

  /** Makes the folder an OCI layout. */
  async create(): Promise<void> {
    await writeNew(join(this.#root, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    await writeNew(this.#path, encodeIndex(EMPTY));
  }

  async add(descriptor: Descriptor): Promise<void> {
    await this.#change((manifests) =>
      manifests.some(({ digest }) => digest === descriptor.digest) ? manifests : [...manifests, withoutName(descriptor)],
    );
  }

  async remove(digest: string): Promise<void> {
    await this.#change((manifests) => {
      const kept = manifests.filter((manifest) => manifest.digest !== digest);
      return kept.length === manifests.length ? manifests : kept;
    });
  }

  async get(name: string, signal: AbortSignal): Promise<ImageRecord | undefined> {
    return (await this.list(signal)).find((record) => record.name === name);
  }

  async list(signal: AbortSignal): Promise<readonly ImageRecord[]> {
    signal.throwIfAborted();
    const { manifests } = await this.#read();
    return manifests.flatMap((target) => {
      const name = target.annotations?.[REF_NAME];
      return name === undefined ? [] : [{ name, target: withoutName(target), labels: {} }];
    });
  }

  async put({ name, target }: ImageRecord, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.#change((manifests) => [
      ...manifests.flatMap((manifest) => {
        if (manifest.annotations?.[REF_NAME] !== name) return manifest.digest === target.digest && isUnnamed(manifest) ? [] : [manifest];
        return manifest.digest === target.digest || isNamedTwice(manifests, manifest) ? [] : [withoutName(manifest)];
      }),
      { ...target, annotations: { ...target.annotations, [REF_NAME]: name } },
    ]);
  }

  async label(name: string, _labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    if ((await this.get(name, signal)) === undefined) throw new ContentError('NOT_FOUND', `image ${name}: not in ${this.#path}`);
  }

  get #path(): string {
    return join(this.#root, 'index.json');
  }

  async #read(): Promise<Index> {
    try {
      return parseIndex(await readFile(this.#path));
    } catch (cause) {
      if (isNotFound(cause)) return EMPTY;
      throw new ContentError('STORE_BROKEN', this.#path, { cause });
    }
  }

  async #change(edit: (manifests: readonly Descriptor[]) => readonly Descriptor[]): Promise<void> {
    const change = this.#changes.then(async () => {
      const index = await this.#read();
      const manifests = edit(index.manifests);
      if (manifests !== index.manifests) await replace(this.#path, encodeIndex({ ...index, manifests: bounded(manifests) }));
    });
    this.#changes = change.catch(() => undefined); // the caller hears of it; the next change is its own
    await change;
  }
}

function bounded(manifests: readonly Descriptor[]): readonly Descriptor[] {
  let surplus = manifests.length - MAX_ENTRIES;
  return surplus <= 0 ? manifests : manifests.filter((manifest) => !isUnnamed(manifest) || surplus-- <= 0);
}

function isUnnamed({ annotations }: Descriptor): boolean {
  return annotations?.[REF_NAME] === undefined;
}

function isNamedTwice(manifests: readonly Descriptor[], { digest }: Descriptor): boolean {
  return manifests.filter((manifest) => manifest.digest === digest).length > 1;
}

function withoutName(descriptor: Descriptor): Descriptor {
  const { annotations, ...rest } = descriptor;
  const kept = Object.entries(annotations ?? {}).filter(([key]) => key !== REF_NAME);
  return kept.length === 0 ? rest : { ...rest, annotations: Object.fromEntries(kept) };
}

async function writeNew(path: string, content: string | Uint8Array): Promise<void> {
  try {
    await writeFile(path, content, { flag: 'wx', mode: 0o644 });
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
}

async function replace(path: string, content: Uint8Array): Promise<void> {
  const next = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    await writeFile(next, content, { flag: 'wx', mode: 0o644, flush: true });
    await rename(next, path);
  } catch (cause) {
    await rm(next, { force: true });
    throw new ContentError('STORE_BROKEN', `write ${path}`, { cause });
  }
}
