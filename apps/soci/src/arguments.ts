/** The names of flags as they are declared, without dashes. */
export interface KnownFlags {
  readonly long: ReadonlySet<string>;
  /** Those that take no value. */
  readonly boolean: ReadonlySet<string>;
  /** Letters of those that take a value and have a short form. */
  readonly letters: ReadonlySet<string>;
}

/**
 * Brings a command line into the form that our parser takes. The Go tool's one is more generous: long flags may have one dash, flags without a value may be given one
 * (`--force=false`), and the value of a short one may stand behind `=` (`-u=alice`).
 */
export function normalizeArguments(args: readonly string[], { long, boolean, letters }: KnownFlags): readonly string[] {
  const end = args.indexOf('--');
  const flags = end < 0 ? args : args.slice(0, end);
  const normal = flags.flatMap((argument) => {
    const [, letter = '', shortValue = ''] = /^-([a-z])=(.*)$/s.exec(argument) ?? [];
    if (letters.has(letter)) return [`-${letter}`, shortValue];
    const match = /^--?([a-z][a-z-]+)(?:=(.*))?$/s.exec(argument);
    const [, name = '', value] = match ?? [];
    if (!long.has(name)) return [argument];
    if (value === undefined) return [`--${name}`];
    if (!boolean.has(name)) return [`--${name}=${value}`];
    if (/^(?:1|t|T|true|TRUE|True)$/.test(value)) return [`--${name}`];
    return /^(?:0|f|F|false|FALSE|False)$/.test(value) ? [] : [`--${name}=${value}`];
  });
  return end < 0 ? normal : [...normal, ...args.slice(end)];
}
