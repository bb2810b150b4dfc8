import { hasExactNumbers } from './header.ts';
import { parseDecimal, parsePaxTime } from './numbers.ts';
import type { PaxRecords } from './pax-records.ts';
import type { MutableEntry } from './tar-entry.ts';

/** Access and change times are checked, and thrown away. */
const unused = { mtimeSeconds: 0, mtimeNanos: 0 };

/**
 * Lets the records override the header's fields; an empty value overrides nothing.
 *
 * @returns false when a number or time in them is none, or beyond what `hasExactNumbers` allows
 */
export function mergePax(entry: MutableEntry): boolean {
  const { records } = entry;
  for (let i = 0; i < records.count; i++) {
    if (records.valueStart(i) !== records.valueEnd(i) && !mergeRecord(entry, records, i)) return false;
  }
  return hasExactNumbers(entry);
}

function mergeRecord(entry: MutableEntry, records: PaxRecords, i: number): boolean {
  const { bytes } = records;
  const start = records.valueStart(i);
  const end = records.valueEnd(i);
  if (records.isKey(i, 'path')) entry.name.set(bytes, start, end);
  else if (records.isKey(i, 'linkpath')) entry.linkName.set(bytes, start, end);
  else if (records.isKey(i, 'uname')) entry.userName.set(bytes, start, end);
  else if (records.isKey(i, 'gname')) entry.groupName.set(bytes, start, end);
  else if (records.isKey(i, 'mtime')) return parsePaxTime(bytes, start, end, entry);
  else if (records.isKey(i, 'atime') || records.isKey(i, 'ctime')) return parsePaxTime(bytes, start, end, unused);
  else if (records.isKey(i, 'uid')) entry.uid = parseDecimal(bytes, start, end);
  else if (records.isKey(i, 'gid')) entry.gid = parseDecimal(bytes, start, end);
  else if (records.isKey(i, 'size')) entry.sizeBytes = parseDecimal(bytes, start, end);
  return true;
}

/** Whether the records make the file a GNU sparse one (formats 0.0, 0.1 and 1.0). Unknown versions of the format are ordinary files, as in Go. */
export function isSparse(records: PaxRecords): boolean {
  let major = '';
  let minor = '';
  let hasMap = false;
  for (let i = 0; i < records.count; i++) {
    if (records.isKey(i, 'GNU.sparse.major')) major = valueText(records, i);
    else if (records.isKey(i, 'GNU.sparse.minor')) minor = valueText(records, i);
    else if (records.isKey(i, 'GNU.sparse.map')) hasMap ||= valueText(records, i) !== '';
    else if (records.isKey(i, 'GNU.sparse.offset') || records.isKey(i, 'GNU.sparse.numbytes')) return true;
  }
  if (major === '' && minor === '') return hasMap;
  return (major === '0' && (minor === '0' || minor === '1')) || (major === '1' && minor === '0');
}

function valueText(records: PaxRecords, i: number): string {
  const start = records.valueStart(i);
  return String.fromCharCode(...records.bytes.subarray(start, Math.min(records.valueEnd(i), start + 2))); // two characters tell all that is asked
}
