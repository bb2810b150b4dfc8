import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Expectation, Outcome } from './row.ts';

const options = z.array(z.looseObject({ kind: z.string() }));

/** Whether an outcome is what a row expects: every member that the row names is equal; an error's message holds `match`, in any letter case. */
export function matches(expected: Expectation, got: Outcome): boolean {
  if (expected.kind === 'one_of') return options.parse(expected.options).some((option) => matches(option, got));
  if (expected.kind !== got.kind) return false;
  if (expected.kind !== 'error') return Object.entries(expected).every(([name, value]) => isDeepStrictEqual(value, got[name]));
  const wanted = typeof expected.match === 'string' ? expected.match : '';
  return String(got.message).toLowerCase().includes(wanted.toLowerCase());
}
