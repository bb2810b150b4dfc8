import { readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isNotFound } from '@soci/errors';
import type { ServiceName } from '../bus.ts';
import { formatIdentity, formatPeers, type Peers } from '../keys/key-documents.ts';
import { toNodeId } from '../node-id.ts';
import { SERVES_ALL_NODES, type Identity } from '../subjects.ts';
import { makeAuthority, makeServerCertificate } from './certificates.ts';
import { DeploymentError } from './deployment-error.ts';
import { formatDeployment, parseDeployment, type DeploymentDocument, type Topology } from './deployment-document.ts';
import { answers, createPair, isUsedAtOnce, KEY_KINDS, nextSeedFile, seedFile, type KeyKind, type Member } from './members.ts';
import { PrivateFolder, type Owner } from './private-files.ts';
import { serverConfig } from './server-config.ts';

export interface CreateDeploymentOptions {
  readonly path: string;
  readonly topology: Topology;
  /** Names of the nodes there are at first; with `host` exactly one. */
  readonly nodes: readonly string[];
  /** Names and addresses of the server. */
  readonly hosts: readonly string[];
  /** Where the server listens, `host:port`. */
  readonly listen: string;
  readonly monitor?: string;
  /** Where the folder `nats` is on the server's machine; left out: where it was made. */
  readonly natsPath?: string;
  /** By service, and `nats`. */
  readonly owners?: Readonly<Record<string, Owner>>;
}

/** Which keys are changed; left out: all. */
export interface RotationScope {
  readonly kinds?: readonly KeyKind[];
  readonly service?: ServiceName;
  readonly node?: string;
}

const DOCUMENT = 'deployment.json';
const SERVICES: readonly ServiceName[] = ['registry-fetcher', 'cri-proxy', 'secret-syncer'];
const PRIVATE_MODE = 0o700;
/** Services that run as other users have to get through to their own folder. */
const PASSABLE_MODE = 0o711;

/**
 * The keys, certificates and server configuration of one deployment, as a folder. Only public keys are remembered between calls; a seed is in the folder of the service it belongs to
 * and nowhere else.
 */
export class Deployment {
  readonly path: string;
  #document: DeploymentDocument;

  private constructor(path: string, document: DeploymentDocument) {
    this.path = path;
    this.#document = document;
  }

  /** @throws {DeploymentError} `EXISTS` when there is one already */
  static async create(options: CreateDeploymentOptions): Promise<Deployment> {
    const { topology, nodes, hosts, listen, monitor = '', owners = {} } = options;
    const path = resolve(options.path);
    if (topology === 'host' && nodes.length !== 1) throw new DeploymentError('INVALID', 'a host is one node');
    if (await exists(join(path, DOCUMENT))) throw new DeploymentError('EXISTS', `${path}: there is a deployment already`);
    const natsPath = options.natsPath ?? join(path, 'nats');
    const deployment = new Deployment(path, { topology, hosts, listen, monitor, natsPath, owners, members: [] });
    const authority = await deployment.#folder('ca');
    await makeAuthority(authority);
    await deployment.renewCertificate();
    await deployment.#addMember({ service: 'secret-syncer', node: undefined });
    for (const node of nodes) await deployment.#addNode(toNodeId(node));
    await deployment.#save();
    return deployment;
  }

  /** @throws {DeploymentError} `NOT_FOUND`, `INVALID` */
  static async open(path: string): Promise<Deployment> {
    const absolute = resolve(path);
    let text: string;
    try {
      text = await readFile(join(absolute, DOCUMENT), 'utf8');
    } catch (cause) {
      throw new DeploymentError(isNotFound(cause) ? 'NOT_FOUND' : 'INVALID', `${absolute}: no deployment`, { cause });
    }
    return new Deployment(absolute, parseDeployment(text));
  }

  get document(): DeploymentDocument {
    return this.#document;
  }

  /** Ids of the nodes. */
  get nodes(): readonly string[] {
    return [...new Set(this.#document.members.flatMap(({ node }) => (node === undefined ? [] : [node])))];
  }

  /** @throws {DeploymentError} `EXISTS`; `INVALID` where there can be only one */
  async addNode(name: string): Promise<void> {
    const node = toNodeId(name);
    if (this.nodes.includes(node)) throw new DeploymentError('EXISTS', `node ${node} is there already`);
    if (this.#document.topology === 'host')
      throw new DeploymentError('INVALID', 'a host is one node; make a deployment of topology cluster');
    await this.#addNode(node);
    await this.#save();
  }

  /** Its keys are no good any more, once the server has read its configuration again. @throws {DeploymentError} `NOT_FOUND` */
  async removeNode(name: string): Promise<void> {
    const node = toNodeId(name);
    if (!this.nodes.includes(node)) throw new DeploymentError('NOT_FOUND', `there is no node ${node}`);
    const gone = this.#document.members.filter((member) => member.node === node);
    this.#update(this.#document.members.filter((member) => member.node !== node));
    await this.#save();
    for (const member of gone) await rm(this.#pathOf(member), { recursive: true, force: true });
    if (this.#document.topology === 'cluster') await rm(join(this.path, 'nodes', node), { recursive: true, force: true });
  }

  /** Makes new keys and has those who check them know them, beside the old ones: both are good until `finishRotation`. Nobody uses the new ones before `useKeys`. */
  async announceKeys(scope: RotationScope): Promise<void> {
    const node = scope.node === undefined ? undefined : toNodeId(scope.node);
    const isMeant = (member: Member): boolean =>
      (scope.service === undefined || member.service === scope.service) && (node === undefined || member.node === node);
    const kinds = scope.kinds ?? KEY_KINDS;
    const meant = this.#document.members.filter(isMeant);
    if (meant.length === 0) throw new DeploymentError('NOT_FOUND', 'there is no such service or node');
    if (meant.some((member) => kinds.some((kind) => member[kind].length > 1)))
      throw new DeploymentError('INVALID', 'keys are being changed already: finish that first');
    const members: Member[] = [];
    for (const member of this.#document.members) members.push(isMeant(member) ? await this.#withNewKeys(member, kinds) : member);
    this.#update(members);
    await this.#save();
  }

  /** Has services use what was announced, once the server and the other services have read it. @returns whether there was any */
  async useKeys(): Promise<boolean> {
    return await this.#useNewSeeds(isUsedAtOnce);
  }

  /**
   * The old keys are no good any more, once the server has read its configuration again.
   * @param settle lets services read their new keys, where these had not been used yet
   */
  async finishRotation(settle: () => Promise<void>): Promise<void> {
    if (await this.useKeys()) await settle();
    await this.#useNewSeeds(() => true);
    const newest = (keys: readonly string[]): readonly string[] => keys.slice(-1);
    this.#update(
      this.#document.members.map((member) => ({
        ...member,
        login: newest(member.login),
        curve: newest(member.curve),
        signing: newest(member.signing),
      })),
    );
    await this.#save();
  }

  /** A new certificate for the server, of the same authority. */
  async renewCertificate(): Promise<void> {
    const nats = await this.#folder('nats');
    const authority = await this.#folder('ca');
    await makeServerCertificate(authority, nats, this.#document.hosts);
    await nats.write('ca.crt', await readFile(authority.at('ca.crt')));
  }

  async #addNode(node: string): Promise<void> {
    for (const service of SERVICES) if (!SERVES_ALL_NODES[service]) await this.#addMember({ service, node });
  }

  async #addMember(identity: Identity): Promise<void> {
    const folder = await this.#folderOf(identity);
    const make = async (kind: KeyKind): Promise<readonly string[]> => [await writePair(folder, seedFile(kind), kind)];
    const signing = answers(identity.service) ? await make('signing') : [];
    const member = { ...identity, login: await make('login'), curve: await make('curve'), signing };
    await folder.write('identity.json', formatIdentity(identity));
    await folder.write('ca.crt', await readFile(join(this.path, 'ca', 'ca.crt')));
    this.#update([...this.#document.members, member]);
  }

  async #withNewKeys(member: Member, kinds: readonly KeyKind[]): Promise<Member> {
    const folder = await this.#folderOf(member);
    const changed: Partial<Record<KeyKind, readonly string[]>> = {};
    for (const kind of kinds) {
      const keys = member[kind];
      if (keys.length === 0) continue;
      changed[kind] = [...keys, await writePair(folder, nextSeedFile(kind), kind)];
    }
    return { ...member, ...changed };
  }

  /** @returns whether there were any */
  async #useNewSeeds(isMeant: (member: Member, kind: KeyKind) => boolean): Promise<boolean> {
    let found = false;
    for (const member of this.#document.members) {
      const folder = await this.#folderOf(member);
      for (const kind of KEY_KINDS) {
        if (isMeant(member, kind) && (await folder.rename(nextSeedFile(kind), seedFile(kind)))) found = true;
      }
    }
    return found;
  }

  #update(members: readonly Member[]): void {
    this.#document = { ...this.#document, members };
  }

  /** All that follows from the members: who knows whom, and whom the server lets in. */
  async #save(): Promise<void> {
    const { members, listen, monitor, natsPath } = this.#document;
    for (const member of members) await (await this.#folderOf(member)).write('peers.json', formatPeers(this.#peersOf(member)));
    const users = members.map((identity) => ({ identity, publicKeys: identity.login }));
    await (await this.#folder('nats')).write('nats-server.conf', serverConfig({ listen, monitor, folder: natsPath, users }));
    await (await this.#top()).write(DOCUMENT, formatDeployment(this.#document));
  }

  #peersOf({ service, node }: Identity): Peers {
    const { members } = this.#document;
    if (answers(service)) {
      const askers = members.filter((other) => !answers(other.service) && (node === undefined || other.node === node));
      return { signers: new Map(), nodes: new Map(askers.map((asker) => [asker.node ?? '', asker.curve])) };
    }
    const answering = members.filter((other) => answers(other.service) && (other.node === undefined || other.node === node));
    return { signers: new Map(answering.map((other) => [other.service, other.signing])), nodes: new Map() };
  }

  #pathOf({ service, node }: Identity): string {
    return node === undefined || this.#document.topology === 'host' ? join(this.path, service) : join(this.path, 'nodes', node, service);
  }

  async #folderOf(identity: Identity): Promise<PrivateFolder> {
    await this.#top();
    const { service, node } = identity;
    if (node !== undefined && this.#document.topology === 'cluster') {
      await PrivateFolder.make(join(this.path, 'nodes'), undefined, this.#mode());
      await PrivateFolder.make(join(this.path, 'nodes', node), undefined, this.#mode());
    }
    return await PrivateFolder.make(this.#pathOf(identity), this.#document.owners[service]);
  }

  async #folder(name: 'ca' | 'nats'): Promise<PrivateFolder> {
    await this.#top();
    return await PrivateFolder.make(join(this.path, name), this.#document.owners[name]);
  }

  async #top(): Promise<PrivateFolder> {
    return await PrivateFolder.make(this.path, undefined, this.#mode());
  }

  #mode(): number {
    return Object.keys(this.#document.owners).length === 0 ? PRIVATE_MODE : PASSABLE_MODE;
  }
}

async function writePair(folder: PrivateFolder, name: string, kind: KeyKind): Promise<string> {
  const pair = createPair(kind);
  const seed = pair.getSeed();
  try {
    await folder.write(name, seed);
    return pair.getPublicKey();
  } finally {
    seed.fill(0);
    pair.clear();
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await readFile(path);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}
