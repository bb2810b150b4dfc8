import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSeed, type KeyPair } from '@nats-io/nkeys';
import { describeError, isNotFound } from '@soci/errors';
import type { Logger } from '@soci/log';
import { BusError } from '../errors.ts';
import { isNodeId } from '../node-id.ts';
import { CurveKey } from '../seal/curve-key.ts';
import { SERVES_ALL_NODES, type Identity } from '../subjects.ts';
import type { ServiceName } from '../bus.ts';
import { parseIdentity, parsePeers, type Peers } from './key-documents.ts';

/** What one service has of keys: its own secret ones and the public ones of others. */
export interface Keys {
  readonly identity: Identity;
  /** Ed25519; signs the server's challenge. */
  readonly login: KeyPair;
  /** What others seal to now. */
  readonly curve: CurveKey;
  /** What they will seal to soon, while keys are being changed. */
  readonly nextCurve: CurveKey | undefined;
  /** Ed25519; signs which curve keys are ours. Only services that answer have one. */
  readonly signing: KeyPair | undefined;
  readonly peers: Peers;
  /** PEM; the only authorities that a server's certificate may come from. */
  readonly authorities: string;
}

const FILES = ['identity.json', 'login.seed', 'curve.seed', 'curve-next.seed', 'signing.seed', 'peers.json', 'ca.crt'] as const;
type FileName = (typeof FILES)[number];
const MAX_FILE_BYTES = 16 << 20;
/** Others must not read it, nor the group write it. The group may read: that is how Kubernetes gives a secret to a user. */
const OPEN_TO_OTHERS = 0o027;
const LOOK_AGAIN_MS = 1_000;
/** Longer than any request takes. */
const CLEAR_AFTER_MS = 120_000;

export interface KeyFolderOptions {
  readonly path: string;
  readonly service: ServiceName;
  readonly log: Logger;
  /** User ids that may own the files; root and the user we run as by default. */
  readonly owners?: readonly number[];
}

/** The keys of a service as files have them. A change of the files counts within a second; one that cannot be used changes nothing, and is logged once. */
export class KeyFolder implements Disposable {
  readonly #options: KeyFolderOptions;
  #keys: Keys | undefined;
  #version = '';
  #lookedMs = -Infinity;
  #reading: Promise<Keys> | undefined;
  #problem = '';

  constructor(options: KeyFolderOptions) {
    this.#options = options;
  }

  /** @throws {BusError} `KEYS_UNUSABLE` when there never were any that can be used */
  async read(): Promise<Keys> {
    const now = performance.now();
    if (this.#keys !== undefined && now - this.#lookedMs < LOOK_AGAIN_MS) return this.#keys;
    this.#reading ??= this.#readAgain().finally(() => (this.#reading = undefined));
    return await this.#reading;
  }

  [Symbol.dispose](): void {
    if (this.#keys !== undefined) clear(this.#keys);
  }

  async #readAgain(): Promise<Keys> {
    const { path, log } = this.#options;
    try {
      const version = await versionOf(path);
      if (this.#keys === undefined || version !== this.#version) {
        const before = this.#keys;
        this.#keys = await this.#readAll();
        if (before !== undefined) setTimeout(clear, CLEAR_AFTER_MS, before).unref(); // who has them in hand goes on with them
        this.#version = version;
        this.#problem = '';
      }
      this.#lookedMs = performance.now();
      return this.#keys;
    } catch (error) {
      if (this.#keys === undefined) throw unusable(path, error);
      const problem = describeError(error);
      if (problem !== this.#problem) log.warn({ path, error: problem }, 'keys of the bus cannot be read; those read before are used');
      this.#problem = problem;
      this.#lookedMs = performance.now();
      return this.#keys;
    }
  }

  async #readAll(): Promise<Keys> {
    const { path, service, owners = [0, process.getuid?.() ?? 0] } = this.#options;
    const read = async (name: FileName): Promise<Buffer> => await readPrivate(join(path, name), owners);
    const readIfThere = async (name: FileName): Promise<Buffer | undefined> =>
      await read(name).catch((error: unknown) => (isNotFound(error) ? undefined : Promise.reject(error as Error)));
    const identity = parseIdentity((await read('identity.json')).toString('utf8'));
    if (identity.service !== service) throw new Error(`identity.json: of ${identity.service}, not of ${service}`);
    if (SERVES_ALL_NODES[service] !== (identity.node === undefined)) throw new Error('identity.json: the node is missing, or one too many');
    if (identity.node !== undefined && !isNodeId(identity.node)) throw new Error('identity.json: no such node');
    const seeds = await Promise.all([read('login.seed'), read('curve.seed'), readIfThere('curve-next.seed'), readIfThere('signing.seed')]);
    const [login, curve, nextCurve, signing] = seeds;
    return {
      identity,
      login: fromSeed(trimmed(login)),
      curve: new CurveKey(trimmed(curve)),
      nextCurve: nextCurve === undefined ? undefined : new CurveKey(trimmed(nextCurve)),
      signing: signing === undefined ? undefined : fromSeed(trimmed(signing)),
      peers: parsePeers((await read('peers.json')).toString('utf8')),
      authorities: (await read('ca.crt')).toString('utf8'),
    };
  }
}

/** Without the line's end, in a buffer of its own, which `KeyPair.clear` overwrites. */
function trimmed(seed: Buffer): Uint8Array {
  const end = seed.findLastIndex((byte) => byte > 0x20) + 1;
  const own = Uint8Array.prototype.slice.call(seed, 0, end);
  seed.fill(0);
  return own;
}

function clear({ login, curve, nextCurve, signing }: Keys): void {
  for (const pair of [login, signing]) pair?.clear();
  for (const key of [curve, nextCurve]) key?.[Symbol.dispose]();
}

async function versionOf(path: string): Promise<string> {
  const parts = FILES.map(async (name) => {
    try {
      const { ino, size, mtimeNs } = await stat(join(path, name), { bigint: true });
      return `${ino}:${size}:${mtimeNs}`;
    } catch (error) {
      if (isNotFound(error)) return '';
      throw error;
    }
  });
  return (await Promise.all(parts)).join();
}

async function readPrivate(path: string, owners: readonly number[]): Promise<Buffer> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const status = await file.stat();
  if (!status.isFile()) throw new Error(`${path}: not a regular file`);
  if (!owners.includes(status.uid)) throw new Error(`${path}: owned by user ${status.uid}`);
  if ((status.mode & OPEN_TO_OTHERS) !== 0) throw new Error(`${path}: open to others (mode ${(status.mode & 0o777).toString(8)})`);
  if (status.size > MAX_FILE_BYTES) throw new Error(`${path}: larger than ${MAX_FILE_BYTES} bytes`);
  const bytes = Buffer.alloc(status.size);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
  return bytes.subarray(0, bytesRead);
}

function unusable(path: string, cause: unknown): BusError {
  return new BusError('KEYS_UNUSABLE', `keys of the bus in ${path}`, { cause });
}
