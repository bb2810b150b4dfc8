import {
  DEFAULT_CONFIG_PATH,
  loadConfig,
  parseConfig,
  parseServiceFlags,
  serviceHelp,
  toToml,
  type ServiceFlags,
  type SnapshotterConfig,
} from '@soci/config';
import { describeError } from '@soci/errors';
import { createLogger, type Logger } from '@soci/log';
import { runMain, type RunOptions } from './run-main.ts';
import { REVISION, VERSION } from './version.ts';

export interface Service {
  /** As in ps and before messages: `soci-snapshotter-grpc`. */
  readonly name: string;
  /** Half a sentence for `--help`. */
  readonly about: string;
  readonly defaultAddress: string;
  readonly graceMs: number;
  readonly exit?: RunOptions['exit'];
  /** Shown each line of the log as it is written. */
  readonly onLogLine?: (line: string) => void;
}

export interface ServiceContext {
  readonly config: SnapshotterConfig;
  /** The file it was read from, or would have been. */
  readonly configPath: string;
  readonly address: string;
  readonly root: string;
  readonly log: Logger;
  /** For the User-Agent header: `soci-snapshotter-grpc/0.1.0`. */
  readonly userAgent: string;
}

/**
 * What every service does alike: flags, `--help`, `--version`, `config dump|default`, configuration with its warnings, log, life cycle.
 * A flag that cannot be understood is one line on standard error and status 1; a configuration that cannot be read is a fatal log line and status 1, as in the Go snapshotter.
 */
export async function runService(
  service: Service,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  main: (context: ServiceContext, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { name, defaultAddress, graceMs, exit, onLogLine } = service;
  let flags: ServiceFlags;
  try {
    flags = parseServiceFlags(args, env);
    if (await answered(flags, service)) return;
  } catch (error) {
    process.stderr.write(`${name}: ${describeError(error)}\n`);
    process.exitCode = 1;
    return;
  }
  const log = createLogger({ level: flags.logLevel, ...(onLogLine && { onLine: onLogLine }) });
  await runMain(
    async (signal) => {
      log.info({ version: VERSION, revision: REVISION }, `starting ${name}`);
      const { config, warnings } = await loadConfig(flags.configPath, { defaultPath: DEFAULT_CONFIG_PATH, strict: flags.isStrict });
      for (const warning of warnings) log.warn(warning);
      await main(
        {
          config,
          configPath: flags.configPath,
          address: flags.address ?? defaultAddress,
          root: flags.root,
          log,
          userAgent: `${name}/${VERSION}`,
        },
        signal,
      );
    },
    { name, log, graceMs, ...(exit === undefined ? {} : { exit }) },
  );
}

/** Does what only prints. @returns whether that was all */
async function answered({ command, configPath, isStrict }: ServiceFlags, { name, about, defaultAddress }: Service): Promise<boolean> {
  const print = (text: string): true => {
    process.stdout.write(text);
    return true;
  };
  switch (command) {
    case 'serve':
      return false;
    case 'help':
      return print(serviceHelp(name, about, defaultAddress));
    case 'version':
      return print(`${name} version ${VERSION} ${REVISION}\n`);
    case 'config default':
      return print(toToml(parseConfig('', 'default').file));
    case 'config dump':
      return print(toToml((await loadConfig(configPath, { defaultPath: DEFAULT_CONFIG_PATH, strict: isStrict })).file));
  }
}
