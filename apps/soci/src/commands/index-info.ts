import { MAX_MANIFEST_BYTES } from '@soci/image';
import { artifactOf } from '../artifact-of.ts';
import { CliError } from '../errors.ts';
import { indentJson } from '../indent-json.ts';
import type { Session } from '../session.ts';

/** `soci index info`: the index as it is stored, on several lines. */
export async function indexInfo([digest = '']: readonly string[], _: object, session: Session): Promise<void> {
  const { kind } = await artifactOf(digest, session);
  if (kind === 'ztoc') {
    throw new CliError(
      'WRONG_KIND',
      'the provided digest is of ztoc not SOCI index. Use "soci ztoc info" command to get detailed info of ztoc',
    );
  }
  const bytes = await (await session.blobs()).read(digest, MAX_MANIFEST_BYTES, session.signal);
  session.print(indentJson(Buffer.from(bytes).toString('utf8')));
}
