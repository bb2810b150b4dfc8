import { StatusError } from './errors.ts';

/** @throws {StatusError} `FAILED` for a value of a service that knows more than this client */
export function nameOf<Name extends string, Value extends number>(table: Readonly<Record<Name, Value>>, value: number): Name {
  for (const name in table) if (table[name] === value) return name;
  throw new StatusError('FAILED', `the service answered with an unknown value ${value}: it is newer than this program`);
}
