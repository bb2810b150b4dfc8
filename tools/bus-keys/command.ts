import { parseArgs } from 'node:util';
import { KEY_KINDS, type KeyKind, type RotationScope, type Topology } from '@soci/bus/deployment';

export const USAGE = `usage: bus-keys COMMAND --dir DIR [OPTION...]
  init                    makes keys, certificates and a server configuration
    --topology host       one node with a server of its own (the default), or cluster: one server and one secret-syncer for all nodes
    --node NAME           a node; again for more of them; with topology host it may be left out
    --host NAME           name or address of the server; again for more of them (127.0.0.1 and localhost)
    --listen HOST:PORT    where the server listens (127.0.0.1:4222)
    --monitor HOST:PORT   where it answers /healthz, to anybody; nowhere by default
    --nats-path PATH      where the folder DIR/nats is on the server's machine, if it is not there
    --owner WHO=USER      gives the folder of a service, or nats, to a user: a name, or UID:GID; again for more of them
  node add NAME           keys for another node of a cluster
  node remove NAME        its keys are no good any more
  rotate [KIND...]        new keys of these kinds (login, curve, signing; all by default); the old ones stay good until --finish
    --service NAME, --node NAME   of these alone
    --announce            makes them known and does not use them yet: for where files are handed out by other means
    --use                 uses what was announced
    --finish              the old ones are no good any more
  certificate             a new certificate for the server, of the same authority
  show                    what there is; nothing secret

  --signal PID|FILE       has the server read its configuration again, by its process id or a file that has it
  --settle SECONDS        how long a rotation waits for everybody to know the new keys (5)
`;

/** Wrong arguments. The message is for people. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface InitCommand {
  readonly kind: 'init';
  readonly topology: Topology;
  readonly nodes: readonly string[];
  readonly hosts: readonly string[];
  readonly listen: string;
  readonly monitor: string;
  readonly natsPath: string | undefined;
  /** As written. */
  readonly owners: Readonly<Record<string, string>>;
}

export type RotationStep = 'begin' | 'announce' | 'use' | 'finish';

export type Command =
  | InitCommand
  | { readonly kind: 'add-node' | 'remove-node'; readonly node: string }
  | { readonly kind: 'rotate'; readonly step: RotationStep; readonly scope: RotationScope }
  | { readonly kind: 'certificate' | 'show' };

export interface Invocation {
  readonly directory: string;
  readonly command: Command;
  readonly signal: string | undefined;
  readonly settleMs: number;
}

const DEFAULT_HOSTS = ['127.0.0.1', 'localhost'];
const DEFAULT_LISTEN = '127.0.0.1:4222';
const DEFAULT_NODE = 'local';
const DEFAULT_SETTLE_SECONDS = 5;
const MEMBERS = ['registry-fetcher', 'cri-proxy', 'secret-syncer', 'nats'];
const SERVICES = ['registry-fetcher', 'cri-proxy', 'secret-syncer'] as const;

const OPTIONS = {
  dir: { type: 'string' },
  topology: { type: 'string' },
  node: { type: 'string', multiple: true },
  host: { type: 'string', multiple: true },
  listen: { type: 'string' },
  monitor: { type: 'string' },
  'nats-path': { type: 'string' },
  owner: { type: 'string', multiple: true },
  service: { type: 'string' },
  announce: { type: 'boolean' },
  use: { type: 'boolean' },
  finish: { type: 'boolean' },
  signal: { type: 'string' },
  settle: { type: 'string' },
} as const;

type Values = ReturnType<typeof parse>['values'];

/** @throws {UsageError} */
export function parseInvocation(args: readonly string[]): Invocation {
  const { values, positionals } = parse(args);
  if (values.dir === undefined) throw new UsageError('--dir is missing');
  const settleSeconds = Number(values.settle ?? DEFAULT_SETTLE_SECONDS);
  if (!(settleSeconds >= 0 && settleSeconds <= 3_600)) throw new UsageError(`--settle ${values.settle ?? ''}: not a number of seconds`);
  return { directory: values.dir, command: commandOf(positionals, values), signal: values.signal, settleMs: settleSeconds * 1_000 };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

function commandOf([name, ...rest]: readonly string[], values: Values): Command {
  switch (name) {
    case 'init':
      if (rest.length > 0) break;
      return initOf(values);
    case 'node': {
      const [action, node, ...more] = rest;
      if (node === undefined || more.length > 0 || (action !== 'add' && action !== 'remove')) break;
      return { kind: action === 'add' ? 'add-node' : 'remove-node', node };
    }
    case 'rotate':
      return { kind: 'rotate', step: stepOf(values), scope: scopeOf(rest, values) };
    case 'certificate':
    case 'show':
      if (rest.length > 0) break;
      return { kind: name };
  }
  throw new UsageError(`no such command: ${[name, ...rest].join(' ')}`);
}

function initOf({
  topology = 'host',
  node,
  host,
  listen = DEFAULT_LISTEN,
  monitor = '',
  'nats-path': natsPath,
  owner = [],
}: Values): InitCommand {
  if (topology !== 'host' && topology !== 'cluster') throw new UsageError(`--topology ${topology}: host or cluster`);
  const owners = Object.fromEntries(
    owner.map((text) => {
      const [member = '', user = '', ...more] = text.split('=');
      if (!MEMBERS.includes(member) || user === '' || more.length > 0) throw new UsageError(`--owner ${text}: not SERVICE=USER`);
      return [member, user] as const;
    }),
  );
  const nodes = node ?? (topology === 'host' ? [DEFAULT_NODE] : []);
  return { kind: 'init', topology, nodes, hosts: [...new Set([...(host ?? []), ...DEFAULT_HOSTS])], listen, monitor, natsPath, owners };
}

function stepOf({ announce = false, use = false, finish = false }: Values): RotationStep {
  if ([announce, use, finish].filter(Boolean).length > 1) throw new UsageError('--announce, --use and --finish are steps: one at a time');
  if (announce) return 'announce';
  if (use) return 'use';
  return finish ? 'finish' : 'begin';
}

function scopeOf(kinds: readonly string[], { service, node = [] }: Values): RotationScope {
  const wrong = kinds.find((kind) => !isKind(kind) && kind !== 'all');
  if (wrong !== undefined) throw new UsageError(`no keys of kind ${wrong}`);
  const name = SERVICES.find((each) => each === service);
  if (service !== undefined && name === undefined) throw new UsageError(`no service ${service}`);
  if (node.length > 1) throw new UsageError('one --node at a time');
  const [only] = node;
  return {
    ...(kinds.length === 0 || kinds.includes('all') ? {} : { kinds: kinds.filter(isKind) }),
    ...(name === undefined ? {} : { service: name }),
    ...(only === undefined ? {} : { node: only }),
  };
}

function isKind(text: string): text is KeyKind {
  return (KEY_KINDS as readonly string[]).includes(text);
}
