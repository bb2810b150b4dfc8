import { RegistryError } from './errors.ts';

export interface RedirectPolicy {
  /** Hosts that are spoken to in clear text by configuration. */
  readonly isPlainHttp: (host: string) => boolean;
}

const MAX_REDIRECTS = 5;

/**
 * Where a redirect leads, if it may be followed. Whether the credential goes along is not decided here: it does not, to another origin.
 *
 * @throws {RegistryError} `REDIRECT_REFUSED`
 */
export function nextHop(
  hop: {
    readonly from: URL;
    readonly location: string | undefined;
    readonly hop: number;
    readonly method: string;
    readonly hasBody: boolean;
  },
  { isPlainHttp }: RedirectPolicy,
): URL {
  const { from } = hop;
  const next = URL.parse(hop.location ?? '', from.href);
  const refuse = (why: string): RegistryError =>
    new RegistryError('REDIRECT_REFUSED', `redirect from ${from.host}${next === null ? '' : ` to ${next.host}`} refused: ${why}`);
  if (next === null || hop.location === undefined || !/^https?:$/.test(next.protocol)) throw refuse('no usable location');
  if (hop.hop >= MAX_REDIRECTS) throw refuse(`more than ${MAX_REDIRECTS} in a row`);
  if (next.username !== '' || next.password !== '') throw refuse('it carries user information');
  if (from.protocol === 'https:' && next.protocol === 'http:' && !isPlainHttp(next.host)) throw refuse('from https to http');
  if (hop.hasBody && next.origin !== from.origin) throw refuse(`a ${hop.method} with a body would go to another origin`);
  return next;
}
