import type { ServiceName } from '../bus.ts';
import { isNodeId } from '../node-id.ts';
import { DeploymentError } from './deployment-error.ts';
import type { Member } from './members.ts';
import type { Owner } from './private-files.ts';

/** `host`: one node, its server on the loopback. `cluster`: one server and one secret-syncer for many nodes. */
export type Topology = 'host' | 'cluster';

/** What deployment.json says: nothing of it is secret. */
export interface DeploymentDocument {
  readonly topology: Topology;
  readonly hosts: readonly string[];
  readonly listen: string;
  readonly monitor: string;
  readonly natsPath: string;
  readonly owners: Readonly<Record<string, Owner>>;
  readonly members: readonly Member[];
}

const VERSION = 1;
const SERVICES: readonly string[] = ['registry-fetcher', 'cri-proxy', 'secret-syncer'] satisfies ServiceName[];

export function formatDeployment(document: DeploymentDocument): string {
  return `${JSON.stringify({ version: VERSION, ...document }, undefined, 2)}\n`;
}

/** @throws {DeploymentError} `INVALID` */
export function parseDeployment(text: string): DeploymentDocument {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new DeploymentError('INVALID', 'deployment.json is not JSON', { cause });
  }
  if (!isDocument(document)) throw new DeploymentError('INVALID', 'deployment.json was not made by this version of bus-keys');
  return document;
}

function isDocument(value: unknown): value is DeploymentDocument {
  if (!isRecord(value) || value.version !== VERSION) return false;
  const { topology, hosts, listen, monitor, natsPath, owners, members } = value;
  const areTexts = [listen, monitor, natsPath].every((text) => typeof text === 'string');
  return (topology === 'host' || topology === 'cluster') && areTexts && isTexts(hosts) && isRecord(owners) && areMembers(members);
}

function areMembers(value: unknown): boolean {
  return Array.isArray(value) && value.every(isMember);
}

function isMember(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { service, node, login, curve, signing } = value;
  const isPlaced = node === undefined || (typeof node === 'string' && isNodeId(node));
  return typeof service === 'string' && SERVICES.includes(service) && isPlaced && [login, curve, signing].every(isTexts);
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
