import { describeError } from '@soci/errors';
import { byPreference, chooseChallenge, parseChallenges } from '@soci/registry';
import { z } from 'zod';
import type { Outcome, Row } from './row.ts';

const input = z.object({ www_authenticate: z.array(z.string()) });

/** Runs a row of source `challenge`. Rows that expect an error are about the choice, the others about what was read: some have no realm that one could use. */
export function runChallengeRow(row: Row): Outcome {
  try {
    const challenges = parseChallenges(input.parse(row.input).www_authenticate);
    const chosen = row.expect.kind === 'error' ? chooseChallenge(challenges) : byPreference(challenges)[0];
    if (chosen === undefined) return { kind: 'error', message: 'unsupported' };
    return { kind: 'challenge', scheme: chosen.scheme, params: Object.fromEntries(chosen.params) };
  } catch (error) {
    return { kind: 'error', message: describeError(error) };
  }
}
