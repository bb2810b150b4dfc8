/** Version and revision, as `soci --version` prints them. */
export const VERSION = '0.1.0 <unknown>';
