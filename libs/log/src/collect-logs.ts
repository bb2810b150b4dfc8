import { createLogger, type Logger, type LogLevel } from './logger.ts';

export interface LogCollector {
  readonly log: Logger;
  /** The lines as they would be written, oldest first. */
  readonly lines: readonly string[];
}

/** A logger that keeps its lines in memory, for tests of what is said and of what must never be said. */
export function collectLogs(level: LogLevel = 'trace'): LogCollector {
  const lines: string[] = [];
  const log = createLogger({ level, destination: { write: (line: string) => void lines.push(line.trimEnd()) } });
  return { log, lines };
}
