import type { Authorization } from './authenticator.ts';
import { chooseChallenge, parseChallenges, type BasicChallenge, type UsableChallenge } from './challenge.ts';
import { RegistryError } from './errors.ts';
import type { ErrorAnswer } from './registry-answer.ts';

/** An answer, with what a judgement needs to know of its way here. */
export interface Answered {
  readonly status: number;
  /** `WWW-Authenticate`. */
  readonly challengeLines: readonly string[];
  /** Undefined for an answer that the caller takes as it is. */
  readonly answer: ErrorAnswer | undefined;
  readonly url: URL;
  /** It came from another origin than the registry's. */
  readonly isForeign: boolean;
  /** All redirects on the way were permanent and led to a registry's interface. */
  readonly isMoved: boolean;
}

export interface Shown {
  /** What the request carried. */
  readonly used: Authorization | undefined;
  /** The challenge this registry sent before. */
  readonly remembered: UsableChallenge | undefined;
  readonly nowMs: number;
}

/** What an answer means for the request. */
export type Judgement =
  | { readonly kind: 'pass' } // nothing that a credential could change
  | { readonly kind: 'moved' } // another registry asks: it is to be treated as one of its own
  | { readonly kind: 'authenticate'; readonly challenge: UsableChallenge; readonly answer: ErrorAnswer } // what was shown, if anything, is void
  | { readonly kind: 'denied'; readonly challenge: UsableChallenge; readonly answer: ErrorAnswer }; // what was shown is valid, but not enough

const PASS: Judgement = Object.freeze({ kind: 'pass' });

/**
 * Decides whether a credential has to be shown, or another one. A refused token is void whatever the challenge's `error=` says, since several registries leave it out.
 *
 * @throws {RegistryError} `UNAUTHORIZED` when there is nobody to answer to, `CHALLENGE_UNSUPPORTED`
 */
export function judgeAnswer(
  { status, challengeLines, answer, url, isForeign, isMoved }: Answered,
  { used, remembered, nowMs }: Shown,
): Judgement {
  if (answer === undefined) return PASS;
  if (isForeign) {
    if (status !== 401 || challengeLines.length === 0) return PASS;
    if (isMoved) return { kind: 'moved' };
    throw new RegistryError('UNAUTHORIZED', `${url.host}, where a redirect led, asks for a credential; none was sent`, { status });
  }
  if (status === 401) return { kind: 'authenticate', challenge: challengeOf(challengeLines, used, remembered), answer };
  if (answer.isLoginExpired) {
    const challenge =
      challengeLines.length > 0 ? chooseChallenge(parseChallenges(challengeLines)) : (remembered ?? expiredLoginChallenge(url));
    return { kind: 'authenticate', challenge, answer };
  }
  if (used === undefined || used.kind === 'anonymous' || remembered === undefined) return PASS;
  if (status === 403) return { kind: 'denied', challenge: remembered, answer };
  // A public registry that answers 400 to a bearer whose time is over.
  if (status === 400 && used.kind === 'bearer' && nowMs >= used.expiresAtMs) return { kind: 'authenticate', challenge: remembered, answer };
  return PASS;
}

/** The challenge that ECR means, but does not send, when a login of twelve hours is over. */
export function expiredLoginChallenge(url: URL): BasicChallenge {
  return { scheme: 'basic', params: new Map(Object.entries({ realm: `https://${url.host}/`, service: 'ecr.amazonaws.com' })) };
}

/** A 401 without a challenge means the one before. So does Basic in answer to a bearer: Harbor says so when the token's rights do not suffice. */
function challengeOf(lines: readonly string[], used: Authorization | undefined, remembered: UsableChallenge | undefined): UsableChallenge {
  if (lines.length === 0) {
    if (remembered === undefined) throw new RegistryError('UNAUTHORIZED', 'answered 401 without a challenge', { status: 401 });
    return remembered;
  }
  const chosen = chooseChallenge(parseChallenges(lines));
  const wasBearer = used !== undefined && used.kind !== 'basic';
  return chosen.scheme === 'basic' && wasBearer && remembered?.scheme === 'bearer' ? remembered : chosen;
}
