import { parseArgs } from 'node:util';
import { isLogLevel, LOG_LEVELS, type LogLevel } from '@soci/log';
import { ConfigError } from './errors.ts';

export const DEFAULT_ADDRESS = '/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock';
export const DEFAULT_CONFIG_PATH = '/etc/soci-snapshotter-grpc/config.toml';
export const DEFAULT_ROOT = '/var/lib/soci-snapshotter-grpc/';

/** What a service was told on its command line and by its environment. */
export interface ServiceFlags {
  readonly command: 'serve' | 'help' | 'version' | 'config dump' | 'config default';
  /** Undefined where neither flag nor environment names one: each service has a default of its own. */
  readonly address: string | undefined;
  readonly configPath: string;
  readonly root: string;
  readonly logLevel: LogLevel;
  /** Unknown keys in config.toml are an error. */
  readonly isStrict: boolean;
}

/**
 * The flags of the Go snapshotter: `--address`, `--config`, `--root`, `--log-level`, `--version`, `--help`, sub-commands `config dump` and `config default`, and our `--config-strict`.
 * A flag beats the environment (`SOCI_SNAPSHOTTER_ADDRESS` and so on), which beats the default.
 * @throws {ConfigError} `INVALID`
 */
export function parseServiceFlags(args: readonly string[], env: Readonly<Record<string, string | undefined>>): ServiceFlags {
  const { values, positionals } = parse(args);
  const logLevel = values['log-level'] ?? env.SOCI_SNAPSHOTTER_LOG_LEVEL ?? 'info';
  if (!isLogLevel(logLevel)) throw new ConfigError('INVALID', `log level ${logLevel}: not one of ${LOG_LEVELS.join(', ')}`);
  return {
    command: commandOf(positionals, values),
    address: values.address ?? env.SOCI_SNAPSHOTTER_ADDRESS,
    configPath: values.config ?? env.SOCI_SNAPSHOTTER_CONFIG ?? DEFAULT_CONFIG_PATH,
    root: values.root ?? env.SOCI_SNAPSHOTTER_ROOT ?? DEFAULT_ROOT,
    logLevel,
    isStrict: values['config-strict'] ?? false,
  };
}

/** The help text of a service. @param address its default address */
export function serviceHelp(name: string, about: string, address: string): string {
  return `${name}: ${about}

usage: ${name} [flags]
       ${name} config dump|default [--config FILE]

  --address ADDRESS   socket to serve on: a path, unix://PATH, or fd:// under systemd (default ${address}) [$SOCI_SNAPSHOTTER_ADDRESS]
  --config FILE       configuration (default ${DEFAULT_CONFIG_PATH}) [$SOCI_SNAPSHOTTER_CONFIG]
  --config-strict     take an unknown key in the configuration for an error
  --root FOLDER       state (default ${DEFAULT_ROOT}) [$SOCI_SNAPSHOTTER_ROOT]
  --log-level LEVEL   ${LOG_LEVELS.join(', ')} (default info) [$SOCI_SNAPSHOTTER_LOG_LEVEL]
  --version           print the version
  --help              print this
`;
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        address: { type: 'string' },
        config: { type: 'string' },
        'config-strict': { type: 'boolean' },
        root: { type: 'string' },
        'log-level': { type: 'string' },
        version: { type: 'boolean', short: 'v' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (cause) {
    throw new ConfigError('INVALID', `${cause instanceof Error ? cause.message : String(cause)}; see --help`, { cause });
  }
}

function commandOf(
  positionals: readonly string[],
  { help, version }: { readonly help?: boolean | undefined; readonly version?: boolean | undefined },
): ServiceFlags['command'] {
  if (help === true) return 'help';
  if (version === true) return 'version';
  const words = positionals.join(' ');
  if (words === '') return 'serve';
  if (words === 'config dump' || words === 'config default') return words;
  throw new ConfigError('INVALID', `unknown command ${words}: see --help`);
}
