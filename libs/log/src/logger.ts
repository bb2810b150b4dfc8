import { pino, type DestinationStream, type Logger as PinoLogger } from 'pino';
import { describeError } from '@soci/errors';

/** The level names that `--log-level` takes, as in the Go snapshotter; `panic` shows what `fatal` shows. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'panic'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What libraries take to log with: an object of fields first, then a fixed sentence. */
export type Logger = Pick<PinoLogger, 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'> & {
  child(bindings: Record<string, unknown>): Logger;
};

export interface LoggerOptions {
  readonly name?: string;
  readonly level?: LogLevel;
  /** Where the lines go; standard error by default, as the Go snapshotter does. */
  readonly destination?: DestinationStream;
  /** Shown each line as well, before it is written. */
  readonly onLine?: (line: string) => void;
}

/** The second net under `Secret`: pino's `*` is one level deep. */
const SECRET_KEYS = ['authorization', 'secret', 'password', 'token', 'auth', 'identitytoken', 'registrytoken'];
const REDACTED_PATHS = SECRET_KEYS.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]);

export function isLogLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text);
}

/**
 * One JSON object a line: `level` as a word, `time` as RFC 3339 with nine digits, `msg`, and an error as one text under `error`.
 * The shape is what programs that read the Go snapshotter's log expect (logrus' JSON format, where warn is spelled `warning`).
 */
export function createLogger({
  name,
  level = 'info',
  destination = pino.destination({ fd: 2, sync: true }),
  onLine,
}: LoggerOptions = {}): Logger {
  return pino(
    {
      level: level === 'panic' ? 'fatal' : level,
      base: name === undefined ? null : { name },
      timestamp: () => `,"time":"${timestamp(Date.now())}"`,
      formatters: { level: (label) => ({ level: label === 'warn' ? 'warning' : label }) },
      serializers: { error: describeError, cause: describeError, err: describeError },
      redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    },
    onLine === undefined ? destination : tee(destination, onLine),
  );
}

function tee(destination: DestinationStream, onLine: (line: string) => void): DestinationStream {
  return {
    write(line) {
      onLine(line);
      destination.write(line);
    },
  };
}

function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, -1)}000000Z`;
}
