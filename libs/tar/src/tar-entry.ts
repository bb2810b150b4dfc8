import { PaxRecords } from './pax-records.ts';
import { MutableText, type TarText } from './text.ts';

/** Type flags of headers that stand for a file of their own. */
export const TYPE_FLAG = {
  regular: 0x30,
  hardLink: 0x31,
  symlink: 0x32,
  character: 0x33,
  block: 0x34,
  directory: 0x35,
  fifo: 0x36,
  paxGlobal: 0x67,
} as const;

/**
 * One member of an archive, extension headers merged in. The object and all it points to are used again for the next entry: copy what is to stay.
 * Numbers are as the header says: negative ones are possible.
 */
export interface TarEntry {
  /** One of `TYPE_FLAG`, or another byte as it stands. An old-style NUL has become a directory or regular file. */
  readonly typeFlag: number;
  /** As in the archive: not cleaned, directories usually end in `/`. */
  readonly name: TarText;
  readonly linkName: TarText;
  readonly userName: TarText;
  readonly groupName: TarText;
  /** The size that the header claims, also where the type has no data. */
  readonly sizeBytes: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly devMajor: number;
  readonly devMinor: number;
  /** Seconds since 1970, and nanoseconds 0 to 999,999,999 to add. */
  readonly mtimeSeconds: number;
  readonly mtimeNanos: number;
  /** Where the entry's first header (a PAX or GNU extension, if it has one) begins, and where its data does. */
  readonly headerOffsetBytes: number;
  readonly offsetBytes: number;
  /** Records of the entry's own PAX header, also those that are merged into the fields above. */
  readonly records: PaxRecords;
}

const JOINED_NAME_BYTES = 155 + 1 + 100;

/** The entry that the parser fills in. */
export class MutableEntry implements TarEntry {
  typeFlag = 0;
  readonly name = new MutableText();
  readonly linkName = new MutableText();
  readonly userName = new MutableText();
  readonly groupName = new MutableText();
  sizeBytes = 0;
  mode = 0;
  uid = 0;
  gid = 0;
  devMajor = 0;
  devMinor = 0;
  mtimeSeconds = 0;
  mtimeNanos = 0;
  headerOffsetBytes = 0;
  offsetBytes = 0;
  readonly records = new PaxRecords();
  /** Where a name that is made of a header's prefix, a slash and its name is put together. */
  readonly joinedName = new Uint8Array(JOINED_NAME_BYTES);
}
