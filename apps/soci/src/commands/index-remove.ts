import { MEDIA_TYPE, parseDigest } from '@soci/image';
import { CliError } from '../errors.ts';
import type { Session } from '../session.ts';

/** `soci index remove`: forgets indexes, and deletes them from the store; their zTOCs stay until nothing uses them. */
export async function indexRemove(digests: readonly string[], { ref }: { readonly ref?: string }, session: Session): Promise<void> {
  const hasRef = ref !== undefined && ref !== '';
  if (digests.length > 0 && hasRef) {
    throw new CliError('ARGUMENT_INVALID', 'please provide either index digests or image ref, but not both');
  }
  const artifacts = await session.artifacts();
  const wanted = hasRef
    ? artifacts.list({ kind: 'index', imageDigest: (await session.image(ref)).target.digest }).map(({ digest }) => digest)
    : digests;
  const blobs = wanted.length === 0 ? undefined : await session.blobs();
  for (const digest of wanted) {
    const known = artifacts.get(digest);
    if (known === undefined) throw new CliError('NOT_FOUND', `the index of the digest ${digest} doesn't exist`);
    if (known.mediaType !== MEDIA_TYPE.ociManifest)
      throw new CliError('WRONG_KIND', `the digest ${digest} does not correspond to an index`);
    parseDigest(digest);
    artifacts.delete(digest);
    await blobs?.delete(digest, session.signal);
  }
}
