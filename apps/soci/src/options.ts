import { Command, InvalidArgumentError, Option } from 'commander';
import { GoValueError, parseGoDuration, parseGoInt64, parseGoUint64 } from './go-values.ts';
import type { Host } from './host.ts';

/** Flags that every command takes, before or after its name. */
export interface GlobalOptions {
  /** containerd's socket. */
  readonly address: string;
  readonly namespace: string;
  /** 0 for none. */
  readonly timeoutMs: number;
  readonly debug: boolean;
  readonly contentStore: 'soci' | 'containerd';
  /** Folder of the artifacts database and of the `soci` content store. */
  readonly root: string;
}

export interface PlatformOptions {
  readonly allPlatforms?: boolean;
  readonly platform?: readonly string[];
}

export interface BuildOptions extends PlatformOptions {
  readonly spanSize: bigint;
  readonly minLayerSize: bigint;
  readonly optimizations?: readonly string[];
  readonly force?: boolean;
  readonly prefetchFile?: readonly string[];
  readonly prefetchFilesJson?: string;
}

export interface RegistryOptions {
  readonly skipVerify?: boolean;
  readonly plainHttp?: boolean;
  readonly user?: string;
  readonly username?: string;
  readonly passwordStdin?: boolean;
  readonly refresh?: string;
  readonly hostsDir?: string;
  readonly tlscacert?: string;
  readonly tlscert?: string;
  readonly tlskey?: string;
  readonly httpDump?: boolean;
  readonly httpTrace?: boolean;
}

const DEFAULT_ADDRESS = '/run/containerd/containerd.sock';
const DEFAULT_NAMESPACE = 'default';
/** `[admin] address` of the service, where its configuration says nothing else. */
const DEFAULT_ADMIN_ADDRESS = '/run/soci-snapshotter-grpc/admin.sock';
const DEFAULT_CONFIG = '/etc/soci-snapshotter-grpc/config.toml';
const DEFAULT_CONTAINERD_CONFIG = '/etc/containerd/config.toml';
export const DEFAULT_HOSTS_DIR = '/etc/containerd/certs.d';
const DEFAULT_ROOT = '/var/lib/soci-snapshotter-grpc/';
const CONTENT_STORES = ['soci', 'containerd'];

export function addGlobalOptions(program: Command, { environment }: Host): Command {
  return program
    .option(
      '-a, --address <value>',
      "containerd's socket [$CONTAINERD_ADDRESS]",
      stripScheme,
      stripScheme(environment.CONTAINERD_ADDRESS || DEFAULT_ADDRESS),
    )
    .option(
      '-n, --namespace <value>',
      'containerd namespace [$CONTAINERD_NAMESPACE]',
      environment.CONTAINERD_NAMESPACE || DEFAULT_NAMESPACE,
    )
    .option('--timeout <duration>', 'give up after this long, e.g. 30s', valueOf('timeout', parseGoDuration), 0)
    .option('--debug', 'tell more of what is done', false)
    .option('--content-store <value>', 'where SOCI artifacts are kept: soci or containerd', contentStore, 'containerd')
    .option('--root <path>', 'root directory of the snapshotter', DEFAULT_ROOT);
}

export function addPlatformOptions(command: Command): Command {
  return command
    .option('--all-platforms', 'all platforms of the image')
    .addOption(sliceOption('-p, --platform <value>', 'a platform, e.g. linux/arm64; may be repeated'));
}

export function addBuildOptions(command: Command): Command {
  return addPlatformOptions(command)
    .addOption(int64Option('span-size', 'uncompressed bytes between two places where decoding may start', 4_194_304n))
    .addOption(int64Option('min-layer-size', 'smaller layers get no zTOC and are not lazily pulled', 10_485_760n))
    .addOption(sliceOption('--optimizations <value>', 'optional optimizations (experimental): xattr'))
    .option('-f, --force', 'build zTOCs again that are there already')
    .addOption(sliceOption('--prefetch-file <path>', 'a file to fetch before it is asked for; may be repeated'))
    .option('--prefetch-files-json <path>', 'a JSON file with an array of such paths');
}

export function addRegistryOptions(command: Command): Command {
  return command
    .option('-k, --skip-verify', "do not check the registry's certificate")
    .option('--plain-http', 'speak HTTP without TLS')
    .option(
      '-u, --user <user[:password]>',
      'registry user and password; WARNING: a password given here stays in the shell history and can be read in the list of processes, use --password-stdin',
    )
    .option('--username <user>', 'registry user, for --password-stdin')
    .option('--password-stdin', 'read the password of --user or --username from standard input')
    .option('--refresh <token>', 'refresh token for the authorization server; WARNING: visible as that of --user')
    .option('--hosts-dir <path>', 'directory with a hosts.toml for each registry', DEFAULT_HOSTS_DIR)
    .option('--tlscacert <path>', 'certificate authority to trust besides those of the system')
    .option('--tlscert <path>', 'client certificate')
    .option('--tlskey <path>', 'key of the client certificate')
    .option('--http-dump', 'show requests and answers')
    .option('--http-trace', 'show requests and answers');
}

export function addCredentialsOptions(command: Command): Command {
  return command
    .option('--json', 'print JSON')
    .option('--admin-address <path>', 'admin socket of the running service', stripScheme, DEFAULT_ADMIN_ADDRESS)
    .option('--registry <host>', "ask for another registry than the image's own, e.g. a mirror")
    .addOption(
      sliceOption('--pod-namespace <name>', 'ask for these Kubernetes namespaces instead of those that pulled the image; may be repeated'),
    );
}

export function addDoctorOptions(command: Command): Command {
  return command
    .option('--json', 'print JSON')
    .option('--admin-address <path>', 'admin socket of the running service; [admin] address of its configuration by default', stripScheme)
    .option('--config <path>', 'configuration of the service', DEFAULT_CONFIG)
    .option('--containerd-config <path>', 'configuration of containerd', DEFAULT_CONTAINERD_CONFIG)
    .addOption(sliceOption('--registry <host>', 'a registry to ask besides those that are configured or in use; may be repeated'));
}

/** A flag that may be repeated, and whose value may be a list with commas. */
export function sliceOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser((value: string, previous: readonly string[] | undefined) => [
    ...(previous ?? []),
    ...value.split(',').map((part) => part.trim()),
  ]);
}

export function uploadsOption(byDefault: bigint): Option {
  return new Option('--max-concurrent-uploads <n>', 'uploads at a time')
    .argParser(valueOf('max-concurrent-uploads', parseGoUint64))
    .default(byDefault, String(byDefault));
}

function int64Option(name: string, description: string, byDefault: bigint): Option {
  return new Option(`--${name} <bytes>`, description).argParser(valueOf(name, parseGoInt64)).default(byDefault, String(byDefault));
}

function valueOf<T>(name: string, parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof GoValueError)) throw error;
      throw new InvalidArgumentError(`invalid value ${JSON.stringify(text)} for flag -${name}: ${error.message}`);
    }
  };
}

function contentStore(value: string): string {
  if (CONTENT_STORES.includes(value)) return value;
  throw new InvalidArgumentError(`unknown content store type: ${value}; must be one of [${CONTENT_STORES.join(' ')}]`);
}

function stripScheme(address: string): string {
  return address.replace(/^unix:\/\//, '');
}

/** The global flags among all that a command got. */
export function toGlobals(options: Record<string, unknown>): GlobalOptions {
  const { timeout, ...rest } = options as unknown as GlobalOptions & { readonly timeout: number };
  const { address, namespace, debug, contentStore: store, root } = rest;
  return { address, namespace, timeoutMs: timeout, debug, contentStore: store, root };
}
