import { createLogger, type Logger } from '@soci/log';
import { print, type Output } from './host.ts';

/** A logger that writes for people: `soci: warning: docker config not usable (path=/root/.docker/config.json, cause=...)`. Below warnings only with `--debug`. */
export function consoleLog(stderr: Output, isDebug: boolean): Logger {
  return createLogger({ level: isDebug ? 'debug' : 'warn', destination: { write: (line) => print(stderr, toText(line)) } });
}

function toText(line: string): string {
  const { level, msg, ...rest } = JSON.parse(line) as { readonly level: string; readonly msg: string; readonly time?: string };
  const fields = Object.entries(rest)
    .filter(([name]) => name !== 'time')
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return `soci: ${level}: ${msg}${fields.length === 0 ? '' : ` (${fields.join(', ')})`}`;
}
