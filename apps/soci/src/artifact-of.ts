import { parseDigest } from '@soci/image';
import type { Artifact } from '@soci/index';
import { CliError } from './errors.ts';
import type { Session } from './session.ts';

/** What is known of a digest that was given as argument. @throws {ImageError} `DIGEST_INVALID`; {CliError} `NOT_FOUND` */
export async function artifactOf(digest: string, session: Session): Promise<Artifact> {
  parseDigest(digest);
  const artifact = (await session.artifacts()).get(digest);
  if (artifact === undefined)
    throw new CliError('NOT_FOUND', `couldn't retrieve artifact for ${digest}, not found (\`soci rebuild-db\` looks for artifacts anew)`);
  return artifact;
}
