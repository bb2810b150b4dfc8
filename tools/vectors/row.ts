import { z } from 'zod';

const expectation = z.looseObject({ kind: z.string() });
const row = z.object({
  id: z.string(),
  source: z.string(),
  input: z.record(z.string(), z.unknown()),
  ref_or_host: z.string().default(''),
  expect: expectation,
});

export type Row = z.infer<typeof row>;
export type Expectation = z.infer<typeof expectation>;
/** What the code under test did, in the terms of an expectation. `error` has a `message` in place of `match`. */
export type Outcome = Readonly<Record<string, unknown>> & { readonly kind: string };

/** Rows of a file of the form of credential-vectors.json. */
export function parseRows(text: string): Row[] {
  return z.array(row).parse(JSON.parse(text));
}
