import { readFileSync, readSync } from 'node:fs';

// Built-ins alone: the keeper loads this.

/** A FUSE mount as one process leaves it to the next. */
export interface FuseSession {
  readonly mountPoint: string;
  /** `major:minor` of the mount, as in /proc/self/mountinfo: an unmount and another mount at the same place are told apart by it. */
  readonly device: string;
  /** Whether the kernel sends unanswered requests again when it is asked to. */
  readonly hasResend: boolean;
}

/** Name of the memory that the session is written to, and what the journal is kept in. */
export const SESSION_MEMORY = 'fuse';
/** One page, written at once: a process that is killed leaves the old one or the new one. */
export const SESSION_BYTES = 4096;
const MAGIC = 0x49434f53;

/** @throws {RangeError} for a path that does not fit */
export function formatSession(session: FuseSession | undefined): Buffer {
  const page = Buffer.alloc(SESSION_BYTES);
  if (session === undefined) return page;
  const json = Buffer.from(JSON.stringify(session));
  page.writeUInt32LE(MAGIC, 0);
  page.writeUInt32LE(json.length, 4);
  if (json.length > SESSION_BYTES - 8) throw new RangeError('path of the fuse mount too long');
  json.copy(page, 8);
  return page;
}

/** The session in a descriptor of memory; `undefined` when there is none, or none that can be understood. */
export function readSession(fd: number): FuseSession | undefined {
  const page = Buffer.alloc(SESSION_BYTES);
  if (readSync(fd, page, 0, SESSION_BYTES, 0) !== SESSION_BYTES || page.readUInt32LE(0) !== MAGIC) return undefined;
  const lengthBytes = page.readUInt32LE(4);
  if (lengthBytes > SESSION_BYTES - 8) return undefined;
  try {
    return toSession(JSON.parse(page.toString('utf8', 8, 8 + lengthBytes)));
  } catch {
    return undefined; // of another version: its mount cannot be taken over, and is made anew
  }
}

/** Whether the mount of a session is still where it was made. */
export function isMounted({ mountPoint, device }: FuseSession, mountInfo = readFileSync('/proc/self/mountinfo', 'utf8')): boolean {
  return mountInfo.split('\n').some((line) => {
    const fields = line.split(' ');
    return fields[2] === device && unescape(fields[4] ?? '') === mountPoint;
  });
}

function toSession(value: unknown): FuseSession | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { mountPoint, device, hasResend } = value as Readonly<Record<string, unknown>>;
  if (typeof mountPoint !== 'string' || typeof device !== 'string' || typeof hasResend !== 'boolean') return undefined;
  return { mountPoint, device, hasResend };
}

function unescape(field: string): string {
  return field.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}
