import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { describeError, isNotFound } from '@soci/errors';
import { KeychainError } from './errors.ts';
import type { PluginProvider } from './plugin-config.ts';
import { readTrustedFile, requireTrusted, UntrustedFileError } from './trusted-file.ts';

/** The providers of all files, or why there are none. The same object as long as nothing has changed. */
export type PluginConfigState =
  | { readonly kind: 'read'; readonly providers: readonly PluginProvider[] }
  | { readonly kind: 'missing'; readonly reason: string }
  | { readonly kind: 'broken'; readonly reason: string };

interface KnownFile {
  readonly version: string;
  readonly providers: readonly PluginProvider[];
}

const MAX_FILE_BYTES = 1024 * 1024;
const MAX_FILES = 64;
const EXTENSIONS = ['.json', '.yaml', '.yml'];

/** The kubelet's configuration of credential providers, read again when it has changed: a file, or a folder of which every file counts, in the order of names. */
export class PluginConfigReader {
  readonly #path: string;
  readonly #owners: readonly number[];
  #files: ReadonlyMap<string, KnownFile> = new Map();
  #state: PluginConfigState = { kind: 'missing', reason: 'not read yet' };

  constructor(path: string, owners: readonly number[]) {
    this.#path = path;
    this.#owners = owners;
  }

  /** @throws {KeychainError} `SOURCE_UNTRUSTED` when others than the owners can write it */
  async read(signal: AbortSignal): Promise<PluginConfigState> {
    try {
      const before = this.#files;
      const files = await this.#readFiles(signal);
      const isSame = files.size === before.size && [...files].every(([path, file]) => before.get(path) === file);
      if (isSame && this.#state.kind === 'read') return this.#state;
      this.#state = { kind: 'read', providers: merged(files) };
      this.#files = files;
    } catch (cause) {
      signal.throwIfAborted();
      this.#files = new Map();
      if (cause instanceof UntrustedFileError)
        throw new KeychainError('SOURCE_UNTRUSTED', `credential-plugins: ${this.#path} is not to be trusted`, { cause });
      const next: PluginConfigState = isNotFound(cause)
        ? { kind: 'missing', reason: `no file ${this.#path}` }
        : { kind: 'broken', reason: cause instanceof KeychainError ? cause.message : `${this.#path}: ${describeError(cause)}` };
      if (next.kind !== this.#state.kind || next.reason !== this.#state.reason) this.#state = next;
    }
    return this.#state;
  }

  async #readFiles(signal: AbortSignal): Promise<ReadonlyMap<string, KnownFile>> {
    const { parsePluginConfig } = await import('./plugin-config.ts'); // a parser of YAML, which most services never need
    const files = new Map<string, KnownFile>();
    for (const path of await this.#paths()) {
      const known = this.#files.get(path);
      const options = { knownVersion: known?.version, maxBytes: MAX_FILE_BYTES, owners: this.#owners };
      const { version, text } = await readTrustedFile(path, options, signal);
      files.set(path, text === undefined && known !== undefined ? known : { version, providers: parsePluginConfig(text ?? '', path) });
    }
    return files;
  }

  async #paths(): Promise<readonly string[]> {
    if (!(await stat(this.#path)).isDirectory()) return [this.#path];
    await requireTrusted(this.#path, 'folder', this.#owners);
    const names = (await readdir(this.#path)).filter((name) => EXTENSIONS.includes(extname(name))).sort();
    if (names.length === 0 || names.length > MAX_FILES) throw new Error(`${names.length} configuration files`);
    return names.map((name) => join(this.#path, name));
  }
}

function merged(files: ReadonlyMap<string, KnownFile>): readonly PluginProvider[] {
  const providers = new Map<string, PluginProvider>();
  for (const [path, file] of files) {
    for (const provider of file.providers) {
      if (providers.has(provider.name)) throw new KeychainError('CONFIG_INVALID', `${path}: provider ${provider.name} is there twice`);
      providers.set(provider.name, provider);
    }
  }
  return [...providers.values()];
}
