import { convertLayout } from '@soci/index';
import { createLogger } from '@soci/log';
import { ZtocBuilder } from '@soci/ztoc';

const TIMEOUT_MS = 60_000;

/** As `soci convert` with `--min-layer-size 0`, several times faster for images that are small. @returns `output` */
export async function convertInProcess(input: string, output: string): Promise<string> {
  await using builder = new ZtocBuilder();
  const log = createLogger({ level: 'error' });
  await convertLayout({ input, output, format: 'oci-dir', minLayerSizeBytes: 0, builder, log }, AbortSignal.timeout(TIMEOUT_MS));
  return output;
}
