import type { TestContext } from 'node:test';
import { startWeb, type Seen, type Web, type WebAnswer } from './web.ts';

export interface GuardedOptions {
  /** What the token server makes of a request; its answer as JSON by default. */
  readonly token?: (seen: Seen, number: number) => WebAnswer | Promise<WebAnswer>;
  /** Whether the registry takes what is shown in `Authorization`. */
  readonly isWelcome?: (authorization: string) => boolean;
  /** Status for what is not welcome, once something is shown. */
  readonly refusal?: number;
  readonly challenge?: (realm: string) => string;
}

export interface Guarded {
  readonly registry: Web;
  readonly tokens: Web;
}

export const GIVEN = { status: 200, body: 'ok', headers: { 'content-length': '2' } } as const;

/** A registry that wants a bearer, and the token server it sends to; tokens are `token-1`, `token-2` and so on. */
export async function startGuarded(t: TestContext, { token, isWelcome, refusal = 401, challenge }: GuardedOptions = {}): Promise<Guarded> {
  const tokens = await startWeb(
    t,
    (seen, number) => token?.(seen, number) ?? { status: 200, body: JSON.stringify({ token: `token-${number}`, expires_in: 300 }) },
  );
  const realm = `${tokens.origin}/token`;
  const line = challenge?.(realm) ?? `Bearer realm="${realm}",service="test",scope="repository:team/app:pull"`;
  const registry = await startWeb(t, ({ headers: { authorization } }) => {
    if (authorization === undefined) return { status: 401, headers: { 'www-authenticate': line } };
    if (isWelcome?.(authorization) ?? true) return GIVEN;
    return { status: refusal, headers: refusal === 401 ? { 'www-authenticate': line } : {} };
  });
  return { registry, tokens };
}
