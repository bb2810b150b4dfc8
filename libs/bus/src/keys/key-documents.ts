import type { ServiceName } from '../bus.ts';
import type { Identity } from '../subjects.ts';

/** Public keys of others. */
export interface Peers {
  /** By service that answers: who may sign its statements. */
  readonly signers: ReadonlyMap<string, readonly string[]>;
  /** By node id: curve keys of the one who asks there. Two while keys are being changed. */
  readonly nodes: ReadonlyMap<string, readonly string[]>;
}

const SERVICES: readonly string[] = ['registry-fetcher', 'cri-proxy', 'secret-syncer'] satisfies ServiceName[];

/** Reads identity.json. */
export function parseIdentity(text: string): Identity {
  const document = objectOf(JSON.parse(text), 'identity.json');
  const { service, node } = document;
  if (typeof service !== 'string' || !isService(service)) throw new Error('identity.json: no such service');
  if (node !== undefined && typeof node !== 'string') throw new Error('identity.json: no such node');
  return { service, node };
}

export function formatIdentity(identity: Identity): string {
  return format(identity);
}

/** Reads peers.json. */
export function parsePeers(text: string): Peers {
  const { signers, nodes } = objectOf(JSON.parse(text), 'peers.json');
  return { signers: keysByName(signers), nodes: keysByName(nodes) };
}

export function formatPeers({ signers, nodes }: Peers): string {
  return format({ signers: Object.fromEntries(signers), nodes: Object.fromEntries(nodes) });
}

function format(document: unknown): string {
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function isService(name: string): name is ServiceName {
  return SERVICES.includes(name);
}

function keysByName(value: unknown): Map<string, readonly string[]> {
  const entries = Object.entries(objectOf(value ?? {}, 'peers.json')).map(([name, keys]) => {
    if (!Array.isArray(keys) || !keys.every((key) => typeof key === 'string')) throw new Error('peers.json: a list of keys is none');
    return [name, keys] as const;
  });
  return new Map(entries);
}

function objectOf(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${name}: not an object`);
  return value as Record<string, unknown>;
}
