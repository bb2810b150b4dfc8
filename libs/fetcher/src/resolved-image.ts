import { type Descriptor, parseManifest } from '@soci/image';
import { parseSociIndex } from '@soci/index';
import { FetcherError } from './errors.ts';
import type { IndexOrigin, ResolvedImage } from './image-fetcher.ts';

/** The documents of an image, each with the descriptor of its bytes: what goes over a wire. */
export interface ImageDocuments {
  readonly manifest: { readonly descriptor: Descriptor; readonly bytes: Uint8Array };
  readonly index: { readonly descriptor: Descriptor; readonly bytes: Uint8Array };
  readonly indexOrigin: IndexOrigin;
  readonly namespaces: readonly string[];
}

/** @throws {FetcherError} `MANIFEST_INVALID`, `INDEX_INVALID` */
export function toResolvedImage({ manifest, index, indexOrigin, namespaces }: ImageDocuments): ResolvedImage {
  return {
    manifest: parsed('MANIFEST_INVALID', manifest.descriptor, () => parseManifest(manifest.bytes)),
    manifestDescriptor: manifest.descriptor,
    index: parsed('INDEX_INVALID', index.descriptor, () => parseSociIndex(index.bytes)),
    indexDescriptor: index.descriptor,
    indexOrigin,
    namespaces,
  };
}

/** Runs a parser; what it throws is about the document of that digest. */
export function parsed<T>(code: 'MANIFEST_INVALID' | 'INDEX_INVALID', { digest }: Pick<Descriptor, 'digest'>, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new FetcherError(code, `${code === 'INDEX_INVALID' ? 'SOCI index' : 'image manifest'} ${digest}: cannot be used`, { cause });
  }
}
