import { Command, InvalidArgumentError, type CommanderError, type Option } from 'commander';
import { normalizeArguments, type KnownFlags } from './arguments.ts';
import { explain } from './explain.ts';
import { print, type Host } from './host.ts';
import {
  addBuildOptions,
  addCredentialsOptions,
  addDoctorOptions,
  addGlobalOptions,
  addPlatformOptions,
  addRegistryOptions,
  sliceOption,
  toGlobals,
  uploadsOption,
  type GlobalOptions,
} from './options.ts';
import { Session } from './session.ts';
import { VERSION } from './version.ts';

/** What a command does: its positional arguments, its flags, and what it works with. */
type Action<Options> = (args: readonly string[], options: Options, session: Session) => Promise<void>;

const FAILURE = 1;
/** What the Go tool answers to a command that it does not know. */
const NO_SUCH_COMMAND = 3;

/** Runs one command line. Nothing is thrown: what went wrong is one line on standard error, and the exit status. */
export async function runCommandLine(args: readonly string[], host: Host): Promise<number> {
  const program = declare(host);
  let globals: GlobalOptions | undefined;
  program.hook('preAction', (_, command) => {
    globals = toGlobals(command.optsWithGlobals());
  });
  try {
    await program.parseAsync(normalizeArguments(args, knownFlags(program)), { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof UsageEnd) return usage(error, host);
    if (error instanceof NoSuchCommand) {
      print(host.stderr, `No help topic for '${error.message}'`);
      return NO_SUCH_COMMAND;
    }
    print(host.stderr, `soci: ${explain(error, globals)}`);
    return FAILURE;
  }
}

class NoSuchCommand extends Error {}

/** A command line that cannot be read, or one that only asks for help or the version. */
class UsageEnd extends Error {
  readonly end: CommanderError;
  readonly command: Command;

  constructor(end: CommanderError, command: Command) {
    super(end.message);
    this.end = end;
    this.command = command;
  }
}

function endingWithUsage(command: Command): Command {
  return command.exitOverride((end) => {
    throw new UsageEnd(end, command);
  });
}

function declare(host: Host): Command {
  const program = addGlobalOptions(new Command('soci'), host)
    .version(`soci version ${VERSION}`, '-v, --version', 'print the version')
    .description('Makes container images start before they are downloaded: SOCI indexes and their artifacts.')
    .configureOutput({ writeOut: (text) => host.stdout.write(text), writeErr: () => undefined });
  group(program, host);

  const index = group(program.command('index').description('manage indices'), host);
  command(index, 'list', 'list indices', async () => (await import('./commands/index-list.ts')).indexList, host)
    .alias('ls')
    .option('--ref <ref>', 'only indices of this image')
    .option('-q, --quiet', 'print digests only')
    .addOption(sliceOption('-p, --platform <value>', 'only indices of this platform'));
  command(index, 'info', 'display an index', async () => (await import('./commands/index-info.ts')).indexInfo, host).argument('[digest]');
  command(index, 'remove', 'remove indices', async () => (await import('./commands/index-remove.ts')).indexRemove, host)
    .alias('rm')
    .argument('[digest...]')
    .option('--ref <ref>', 'remove the indices of this image');

  const ztoc = group(program.command('ztoc').description('manage ztocs'), host);
  command(ztoc, 'list', 'list ztocs', async () => (await import('./commands/ztoc-list.ts')).ztocList, host)
    .alias('ls')
    .option('--ztoc-digest <digest>', 'only this ztoc')
    .option('--image-ref <ref>', 'only ztocs of this image')
    .option('-q, --quiet', 'print digests only');
  command(ztoc, 'info', 'get detailed info about a ztoc', async () => (await import('./commands/ztoc-info.ts')).ztocInfo, host).argument(
    '[digest]',
  );
  command(
    ztoc,
    'get-file',
    'read a file from a local image layer by its ztoc',
    async () => (await import('./commands/ztoc-get-file.ts')).ztocGetFile,
    host,
  )
    .argument('[digest]')
    .argument('[file]')
    .option('-o, --output <path>', 'write to this file instead of standard output');

  const prefetch = group(program.command('prefetch').description('manage prefetch artifacts'), host);
  command(prefetch, 'list', 'list prefetch artifacts', async () => (await import('./commands/prefetch-list.ts')).prefetchList, host)
    .alias('ls')
    .option('--json', 'print JSON');
  command(prefetch, 'info', 'display a prefetch artifact', async () => (await import('./commands/prefetch-info.ts')).prefetchInfo, host)
    .argument('[digest]')
    .option('--json', 'print the artifact itself, too');

  addBuildOptions(
    command(program, 'create', 'create SOCI index', async () => (await import('./commands/create.ts')).create, host),
  ).argument('[image_ref]');
  addBuildOptions(
    command(
      program,
      'convert',
      'convert an OCI image to a SOCI enabled image',
      async () => (await import('./commands/convert.ts')).convert,
      host,
    ),
  )
    .argument('[image_ref]')
    .argument('[dest_ref]')
    .option('--standalone', 'work on OCI image layouts (folders or tar files), without containerd')
    .option('--format <value>', 'what --standalone writes: oci-archive or oci-dir', layoutFormat, 'oci-archive');
  addPlatformOptions(
    addRegistryOptions(
      command(program, 'push', 'push SOCI artifacts to a registry', async () => (await import('./commands/push.ts')).push, host),
    ),
  )
    .argument('[ref]')
    .option('--snapshotter <name>', 'accepted for compatibility; the artifacts are found without it')
    .option('--existing-index <mode>', 'when the registry has an index already: warn, skip or allow', 'warn')
    .addOption(uploadsOption(3n))
    .option('-q, --quiet', 'print the digests of pushed indices only');
  addCredentialsOptions(
    command(
      program,
      'credentials',
      'show which credential source of the running service serves an image',
      async () => (await import('./commands/credentials.ts')).credentials,
      host,
      { needsRoot: false },
    ),
  ).argument('[ref]');
  addDoctorOptions(
    command(
      program,
      'doctor',
      'check all that lazy loading needs, and say what to do',
      async () => (await import('./commands/doctor.ts')).doctor,
      host,
      { needsRoot: false },
    ),
  );
  command(program, 'rebuild-db', 'rebuild the artifacts database', async () => (await import('./commands/rebuild-db.ts')).rebuildDb, host);
  return program;
}

/** A command without an action of its own: alone it shows its help. */
function group(parent: Command, host: Host): Command {
  return endingWithUsage(parent)
    .helpCommand(true)
    .allowExcessArguments()
    .action((_, self: Command) => {
      const [unknown] = self.args;
      if (unknown !== undefined) throw new NoSuchCommand(unknown);
      host.stdout.write(self.helpInformation());
    });
}

function command<Options>(
  parent: Command,
  name: string,
  description: string,
  load: () => Promise<Action<Options>>,
  host: Host,
  { needsRoot = true }: { readonly needsRoot?: boolean } = {},
): Command {
  return endingWithUsage(parent.command(name))
    .description(description)
    .allowExcessArguments()
    .action(async (...parameters: unknown[]) => {
      const self = parameters.at(-1) as Command;
      const options = self.optsWithGlobals();
      await using session = new Session(toGlobals(options), host);
      if (needsRoot && options.standalone !== true) await session.ensureRoot();
      const action = await load();
      await action(self.args, options as Options, session);
    });
}

function layoutFormat(value: string): string {
  if (value === 'oci-archive' || value === 'oci-dir') return value;
  throw new InvalidArgumentError(`unsupported output format "${value}": must be "oci-archive" or "oci-dir"`);
}

function knownFlags(program: Command): KnownFlags {
  const options = [program, ...program.commands, ...program.commands.flatMap((child) => child.commands)].flatMap((child) => child.options);
  const names = options.map((option) => option.long?.slice(2) ?? '');
  const takesValue = ({ required, optional }: Option): boolean => required || optional;
  return {
    long: new Set([...names, 'help', 'version']),
    boolean: new Set(options.filter((option) => !takesValue(option)).map((option) => option.long?.slice(2) ?? '')),
    letters: new Set(options.filter(takesValue).flatMap(({ short }) => (short === undefined ? [] : [short.slice(1)]))),
  };
}

function usage({ end, command: asked }: UsageEnd, host: Host): number {
  if (end.exitCode === 0) return 0;
  const message = usageMessage(end);
  print(host.stderr, `Incorrect Usage: ${message}\n`);
  host.stdout.write(asked.helpInformation());
  print(host.stderr, `soci: ${message}`);
  return FAILURE;
}

function usageMessage({ code, message }: CommanderError): string {
  const text = message.replace(/^error: /, '');
  const [, flag = ''] = /'(-[^']*)'/.exec(text) ?? [];
  // Without what stands behind `=`: in `--usr=alice:secret` it is what the message must not show.
  if (code === 'commander.unknownOption') return `flag provided but not defined: -${flag.replace(/^-+/, '').replace(/=.*$/s, '')}`;
  if (code === 'commander.optionMissingArgument') return `flag needs an argument: ${/--[a-z-]+/.exec(flag)?.[0] ?? flag}`;
  return text.replace(/^option '[^']*' argument '[^]*?' is invalid\. /, '');
}
