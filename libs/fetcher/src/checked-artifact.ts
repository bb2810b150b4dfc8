import { type Descriptor, isDigest } from '@soci/image';
import { FetcherError } from './errors.ts';

/** A zTOC has 32 KiB for every span of 4 MiB and some 300 bytes for every file: this is a layer of tens of gigabytes. */
const MAX_ARTIFACT_BYTES = 512 << 20;

/**
 * A descriptor of something that is read into memory as a whole.
 * @throws {FetcherError} `REQUEST_INVALID`, `TOO_LARGE`
 */
export function checkedArtifact({ digest, size }: Pick<Descriptor, 'digest' | 'size'>): Pick<Descriptor, 'digest' | 'size'> {
  if (!isDigest(digest) || !Number.isSafeInteger(size) || size < 0)
    throw new FetcherError('REQUEST_INVALID', `artifact ${digest.slice(0, 100)} of ${size} bytes: no such descriptor`);
  if (size > MAX_ARTIFACT_BYTES)
    throw new FetcherError('TOO_LARGE', `artifact ${digest}: ${size} bytes are more than ${MAX_ARTIFACT_BYTES}`);
  return { digest, size };
}
