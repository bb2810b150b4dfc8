/** What a table-of-contents entry is. */
export const ENTRY_TYPE = { regular: 0, directory: 1, symlink: 2, hardLink: 3, character: 4, block: 5, fifo: 6 } as const;

/**
 * The table of contents of a layer as columns: one typed array a field, one index an entry, in the order of the tar. Nothing is allocated per entry.
 * Texts are byte ranges of `bytes` and need not be UTF-8. All offsets were checked to lie inside `bytes` when the columns were made.
 */
export interface TocColumns {
  readonly count: number;
  readonly bytes: Uint8Array;
  /** Name as it stands in the tar (`./usr/bin/`, not cleaned): bytes `nameStart[i]` to `nameEnd[i]`, exclusive. */
  readonly nameStart: Uint32Array;
  readonly nameEnd: Uint32Array;
  /** Target of a symbolic or hard link, else empty. */
  readonly linkStart: Uint32Array;
  readonly linkEnd: Uint32Array;
  /** One of `ENTRY_TYPE`. */
  readonly type: Uint8Array;
  /** Where the file's data begins in the uncompressed tar, a multiple of 512. */
  readonly offsetBytes: Float64Array;
  readonly sizeBytes: Float64Array;
  /** Permission bits with setuid, setgid and sticky (07777), as the tar header says; no file type bits. */
  readonly mode: Uint32Array;
  readonly uid: Uint32Array;
  readonly gid: Uint32Array;
  readonly devMajor: Uint32Array;
  readonly devMinor: Uint32Array;
  /** Modification time: whole seconds since 1970, possibly negative, and nanoseconds 0 to 999,999,999. */
  readonly mtimeSeconds: Float64Array;
  readonly mtimeNanos: Uint32Array;
  /** Where the entry's tar headers (with PAX and GNU extension headers) begin in the uncompressed tar; they end at `offsetBytes`. */
  readonly headerOffsetBytes: Float64Array;
  /** Extended attributes of entry `i`, each a key (without `SCHILY.xattr.`) and a value, as subarrays of `bytes`; called only for entries whose `xattrCount` is not 0. */
  readonly xattrCount: Uint32Array;
  xattrs(i: number): readonly { readonly key: Uint8Array; readonly value: Uint8Array }[];
}
