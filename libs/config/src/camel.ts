type CamelKey<K extends string> = K extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<CamelKey<Tail>>}` : K;

/** The same value with its keys in camel case: `mount_timeout_sec` becomes `mountTimeoutSec`, `DialTimeoutMsec` becomes `dialTimeoutMsec`. */
export type Camel<T> = T extends readonly (infer Item)[]
  ? readonly Camel<Item>[]
  : T extends object
    ? { readonly [K in keyof T as K extends string ? (string extends K ? K : Uncapitalize<CamelKey<K>>) : K]: Camel<T[K]> }
    : T;

/** Tables whose keys are data (a host, a compression), not names of settings. */
const KEYED_BY_DATA = new Set(['host', 'decompress_streams']);

/** Turns a parsed file into the form the program uses; frozen. */
export function toCamel<T>(value: T, keysAreData = false): Camel<T> {
  if (Array.isArray(value)) return Object.freeze(value.map((item) => toCamel(item as unknown))) as Camel<T>;
  if (typeof value !== 'object' || value === null) return value as Camel<T>;
  const entries = Object.entries(value).map(([key, inner]) => [
    keysAreData ? key : camelKey(key),
    toCamel(inner as unknown, KEYED_BY_DATA.has(key)),
  ]);
  return Object.freeze(Object.fromEntries(entries)) as Camel<T>;
}

function camelKey(key: string): string {
  const joined = key.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  return joined.charAt(0).toLowerCase() + joined.slice(1);
}
