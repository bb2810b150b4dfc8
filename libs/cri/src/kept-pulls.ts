import { fingerprint, registryOf, type Credential } from '@soci/keychain';
import type { Logger } from '@soci/log';
import { wipe } from './held-secrets.ts';
import { entryBody, parseEntryBody, parseSecretBody, secretBody } from './kept-record.ts';
import { monotonicMs } from './monotonic-ms.ts';
import { keyOf, type PulledEntry } from './pulled-entries.ts';
import { RECORD_KIND, type KeptRecord, type Memory } from './record-layout.ts';
import { RecordMemory } from './record-memory.ts';
import type { FoundRecord } from './record-scan.ts';

interface KeptSecret {
  readonly record: KeptRecord;
  readonly credential: Credential;
  holders: number;
}

interface KeptEntry {
  record: KeptRecord;
  readonly secret: KeptSecret | undefined;
}

/**
 * What pulls brought, in memory that the next process gets when this one is killed. Each credential stands there once, however many pulls showed it; an entry
 * names it by a checksum that no other record has, so it is that one or the entry is lost. What is deleted is overwritten before the call returns.
 *
 * Trouble with the memory is trouble for the time after a crash alone: it is logged, and pulls go on.
 */
export class KeptPulls {
  readonly #log: Logger;
  readonly #records: RecordMemory;
  readonly #entries = new Map<string, KeptEntry>();
  readonly #secrets = new Map<string, KeptSecret>();
  #left: readonly PulledEntry[] = [];
  #isOver = false;

  private constructor(records: RecordMemory, log: Logger) {
    this.#records = records;
    this.#log = log;
  }

  /** Memory that is zeros. */
  static create(memory: Memory, log: Logger): KeptPulls {
    return new KeptPulls(RecordMemory.create(memory), log);
  }

  /** Goes on with the memory of a process that ended by accident. @returns undefined for memory of another version */
  static open(memory: Memory, log: Logger, nowMs: number = monotonicMs()): KeptPulls | undefined {
    const opened = RecordMemory.open(memory);
    if (opened === undefined) return undefined;
    const kept = new KeptPulls(opened.records, log);
    kept.#left = kept.#restore(opened.found, nowMs);
    return kept;
  }

  /** Entries of the process before, longest unused first, for the one who goes on with them. Whoever asks a second time gets none. */
  takeLeft(): readonly PulledEntry[] {
    const left = this.#left;
    this.#left = [];
    return left;
  }

  /** How many entries stand there. */
  get size(): number {
    return this.#entries.size;
  }

  /** How many processes have had this memory, this one included. */
  get generation(): number {
    return this.#records.generation;
  }

  add(entry: PulledEntry): void {
    this.#attempt(() => this.#add(entry));
  }

  /** What can be changed in place has changed. */
  update(entry: PulledEntry): void {
    const kept = this.#entries.get(entry.key);
    if (kept !== undefined) this.#attempt(() => this.#records.setWords(kept.record, wordsOf(entry)));
  }

  /** Something else has changed. */
  replace(entry: PulledEntry): void {
    const kept = this.#entries.get(entry.key);
    if (kept === undefined) return;
    this.#attempt(() => {
      const record = this.#records.add(RECORD_KIND.entry, entryBody(entry, kept.secret?.record.checksum), wordsOf(entry));
      if (record === undefined) return; // as it was is better than not at all
      this.#records.remove(kept.record);
      kept.record = record;
    });
  }

  delete(entry: PulledEntry): void {
    const kept = this.#entries.get(entry.key);
    if (kept === undefined) return;
    this.#entries.delete(entry.key);
    this.#attempt(() => {
      this.#records.remove(kept.record);
      this.#release(kept.secret, entry.fingerprint);
    });
  }

  /** Overwrites all of it: this is a stop, and nobody goes on. */
  wipe(): void {
    this.detach();
    try {
      this.#records.wipe();
    } catch (error) {
      this.#log.error({ error }, 'credentials of pulls could not be overwritten');
    }
  }

  /** Leaves it as it is. */
  detach(): void {
    this.#isOver = true;
    this.#entries.clear();
    this.#secrets.clear();
  }

  #add(entry: PulledEntry): void {
    const { login } = entry;
    const secret = login.kind === 'credential' ? this.#hold(login.credential, entry.fingerprint) : undefined;
    if (login.kind === 'credential' && secret === undefined) return;
    const record = this.#records.add(RECORD_KIND.entry, entryBody(entry, secret?.record.checksum), wordsOf(entry));
    if (record === undefined) this.#release(secret, entry.fingerprint);
    else this.#entries.set(entry.key, { record, secret });
  }

  #hold(credential: Credential, print: string): KeptSecret | undefined {
    const known = this.#secrets.get(print);
    if (known !== undefined) {
      known.holders++;
      return known;
    }
    if (credential.kind === 'anonymous') return undefined;
    const body = secretBody(credential);
    const record = this.#records.add(RECORD_KIND.secret, body, []);
    body.fill(0);
    if (record === undefined) return undefined;
    const secret: KeptSecret = { record, credential, holders: 1 };
    this.#secrets.set(print, secret);
    return secret;
  }

  #release(secret: KeptSecret | undefined, print: string): void {
    if (secret === undefined || --secret.holders > 0) return;
    this.#secrets.delete(print);
    this.#records.remove(secret.record);
  }

  #restore(found: readonly FoundRecord[], nowMs: number): readonly PulledEntry[] {
    const secrets = this.#restoreSecrets(found.filter(({ kind }) => kind === RECORD_KIND.secret));
    const entries = new Map<string, PulledEntry>();
    const newestFirst = found.filter(({ kind }) => kind === RECORD_KIND.entry).sort((a, b) => b.record.version - a.record.version);
    for (const { record, body, words } of newestFirst) {
      const parsed = parseEntryBody(body);
      const secret = parsed?.secret === undefined ? undefined : secrets.get(parsed.secret);
      const entry = parsed && toEntry(parsed, parsed.login(secret?.credential), words, nowMs);
      if (entry === undefined || entries.has(entry.key)) {
        this.#records.remove(record);
        continue;
      }
      if (secret !== undefined) secret.holders++;
      this.#entries.set(entry.key, { record, secret });
      entries.set(entry.key, entry);
    }
    for (const secret of secrets.values()) if (secret.holders === 0) this.#forget(secret);
    return [...entries.values()].reverse().sort((a, b) => a.usedMs - b.usedMs);
  }

  /** By their checksum. */
  #restoreSecrets(found: readonly FoundRecord[]): ReadonlyMap<string, KeptSecret> {
    const secrets = new Map<string, KeptSecret>();
    for (const { record, body } of found) {
      const credential = parseSecretBody(body);
      body.fill(0);
      const print = credential === undefined ? '' : fingerprint(credential);
      if (credential === undefined || this.#secrets.has(print)) {
        if (credential !== undefined) wipe(credential);
        this.#records.remove(record);
        continue;
      }
      const secret: KeptSecret = { record, credential, holders: 0 };
      this.#secrets.set(print, secret);
      secrets.set(record.checksum, secret);
    }
    return secrets;
  }

  #forget({ record, credential }: KeptSecret): void {
    this.#secrets.delete(fingerprint(credential));
    this.#records.remove(record);
    wipe(credential);
  }

  #attempt(write: () => void): void {
    if (this.#isOver) return;
    try {
      write();
    } catch (error) {
      this.#log.error({ error }, 'credentials of pulls will not survive a crash');
      this.wipe(); // rather none than some that were dropped here
    }
  }
}

function wordsOf({ usedMs, sinceMs, rank, isOrphan }: PulledEntry): readonly number[] {
  return [usedMs, sinceMs, rank, isOrphan ? 1 : 0];
}

function toEntry(
  { reference, namespace, imageId }: NonNullable<ReturnType<typeof parseEntryBody>>,
  login: PulledEntry['login'] | undefined,
  [usedMs = NaN, sinceMs = NaN, rank = NaN, orphan = NaN]: readonly number[],
  nowMs: number,
): PulledEntry | undefined {
  if (login === undefined || !Number.isFinite(usedMs) || !Number.isFinite(sinceMs) || !Number.isSafeInteger(rank) || rank < 0)
    return undefined;
  const print = login.kind === 'credential' ? fingerprint(login.credential) : '';
  const canonical = reference.canonical();
  return {
    key: keyOf(canonical, namespace, login, print),
    reference: canonical,
    host: registryOf(reference.host),
    namespace,
    login,
    fingerprint: print,
    running: 0,
    rank,
    sinceMs,
    usedMs: Math.min(usedMs, nowMs),
    imageId,
    isOrphan: orphan === 1,
  };
}
