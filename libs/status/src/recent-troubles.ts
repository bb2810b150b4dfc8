import { plainText } from './plain-text.ts';

/** A warning or an error that the service has logged. */
export interface Trouble {
  readonly level: 'warning' | 'error';
  /** The fixed sentence. */
  readonly message: string;
  /** What varies, as of the last time: `host=registry.example.com error=refused`. */
  readonly detail: string;
  readonly count: number;
  /** When it was last logged, in milliseconds of the wall clock. */
  readonly atMs: number;
}

const MAX_TROUBLES = 20;
const LEVELS: Readonly<Record<string, Trouble['level']>> = { warning: 'warning', error: 'error', fatal: 'error' };
const IS_TROUBLE = /^\{"level":"(?:warning|error|fatal)"/;
const OWN_FIELDS = new Set(['level', 'time', 'msg', 'name']);
const MAX_LINE = 64 << 10;

/** The last warnings and errors of a log, each message once. It is shown each line of the log as it is written; what a log must not say is not in it either. */
export class RecentTroubles {
  /** By message, the one that was logged last at the end. */
  readonly #byMessage = new Map<string, Trouble>();
  readonly #nowMs: () => number;

  constructor({ nowMs = Date.now }: { readonly nowMs?: () => number } = {}) {
    this.#nowMs = nowMs;
  }

  /** Newest first. */
  get list(): readonly Trouble[] {
    return [...this.#byMessage.values()].reverse();
  }

  /** @param line as the logger writes it; lines of other levels cost next to nothing */
  note(line: string): void {
    if (!IS_TROUBLE.test(line) || line.length > MAX_LINE) return;
    const entry = parse(line);
    if (entry === undefined) return;
    const { level, message, detail } = entry;
    const key = `${level} ${message}`;
    const count = (this.#byMessage.get(key)?.count ?? 0) + 1;
    this.#byMessage.delete(key);
    this.#byMessage.set(key, { level, message, detail, count, atMs: this.#nowMs() });
    const [oldest] = this.#byMessage.keys();
    if (this.#byMessage.size > MAX_TROUBLES && oldest !== undefined) this.#byMessage.delete(oldest);
  }
}

function parse(line: string): Pick<Trouble, 'level' | 'message' | 'detail'> | undefined {
  let fields: Readonly<Record<string, unknown>>;
  try {
    fields = JSON.parse(line) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined; // cut off: the log has it
  }
  const level = LEVELS[String(fields.level)];
  if (level === undefined) return undefined;
  const details = Object.entries(fields)
    .filter(([name]) => !OWN_FIELDS.has(name))
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return { level, message: plainText(String(fields.msg)), detail: plainText(details.join(' ')) };
}
