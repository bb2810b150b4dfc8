/** Version of everything in this repository. */
export const VERSION = '0.1.0';
/** Revision of the sources, where whoever builds a package puts it in; the second word of `--version`. */
export const REVISION = 'unknown';
