import { z } from 'zod';

export interface UnknownKey {
  /** Dotted path as the file spells it. */
  readonly path: string;
  /** The known key nearest to it in spelling, if any is near. */
  readonly nearest: string | undefined;
}

/** A longer key is like no known one. */
const MAX_COMPARED_CHARACTERS = 100;

type Table = Readonly<Record<string, unknown>>;

/**
 * Brings the keys of a parsed TOML table to the schema's spelling: exact match first, then without regard to case, as Go's decoder does.
 * Keys that the schema does not know are left out and listed.
 */
export function conformKeys(
  value: unknown,
  schema: z.ZodType,
  path: readonly string[] = [],
): { readonly value: unknown; readonly unknown: readonly UnknownKey[] } {
  const shape = shapeOf(schema);
  if (shape === undefined || !isTable(value)) return { value, unknown: [] };
  const out = new Map<string, unknown>();
  const unknown: UnknownKey[] = [];
  for (const [given, inner] of Object.entries(value)) {
    const key = Object.hasOwn(shape, given) ? given : Object.keys(shape).find((known) => known.toLowerCase() === given.toLowerCase());
    const innerSchema = key === undefined ? undefined : shape[key];
    if (key === undefined || innerSchema === undefined) {
      unknown.push(new Unknown([...path, given].join('.'), given, shape));
      continue;
    }
    const conformed = conformKeys(inner, innerSchema, [...path, key]);
    unknown.push(...conformed.unknown);
    if (!out.has(key) || key === given) out.set(key, conformed.value);
  }
  return { value: Object.fromEntries(out), unknown };
}

/** Looks for the nearest key when it is asked for: a file may hold any number of unknown ones. */
class Unknown implements UnknownKey {
  readonly path: string;
  readonly #given: string;
  readonly #shape: object;

  constructor(path: string, given: string, shape: object) {
    this.path = path;
    this.#given = given;
    this.#shape = shape;
  }

  get nearest(): string | undefined {
    return this.#given.length > MAX_COMPARED_CHARACTERS ? undefined : nearestOf(this.#given, Object.keys(this.#shape));
  }
}

/** Whether a value is a TOML table. */
export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** The keys of an object schema, looked for through defaults and options; undefined for anything else. */
export function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> | undefined {
  if (schema instanceof z.ZodObject) return schema.shape;
  if (schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault || schema instanceof z.ZodOptional)
    return shapeOf(schema.unwrap() as z.ZodType);
  return undefined;
}

function nearestOf(given: string, known: readonly string[]): string | undefined {
  const limit = Math.max(2, Math.floor(given.length / 3));
  let best: string | undefined;
  let bestDistance = limit + 1;
  for (const candidate of known) {
    const distance = editDistance(given.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
