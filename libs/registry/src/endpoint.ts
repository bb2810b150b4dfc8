import { posix } from 'node:path';
import { isHubHost } from '@soci/keychain';

/** Docker Hub's requests go to another host than its references name. */
export const HUB_API_HOST = 'registry-1.docker.io';

/** An address of a registry as people write it in configuration. */
export interface Endpoint {
  readonly scheme: 'http' | 'https';
  /** As written, lower case, with the port if it is there. */
  readonly authority: string;
  /** Clean, without a slash at its end; empty when none was written. */
  readonly path: string;
}

/**
 * Takes an address apart; one without a scheme means https.
 *
 * @throws {SyntaxError} the message says what is wrong, and shows no user information
 */
export function parseEndpoint(text: string): Endpoint {
  const [, scheme = 'https', authority = '', path = ''] =
    /^(?:(https?):\/\/)?([^/?#\\\s]+)(\/[^?#\\\s]*)?(?:[?#].*)?$/i.exec(text.trim()) ?? [];
  if (authority.includes('@')) throw new SyntaxError('the address of a host carries user information: it belongs in a credential source');
  const url = URL.parse(`http://${authority}`);
  if (authority === '' || url === null || url.pathname !== '/' || authority.endsWith(':'))
    throw new SyntaxError('not the address of a host');
  const clean = posix.normalize(path).replace(/\/+$/, '');
  return {
    scheme: scheme.toLowerCase() === 'http' ? 'http' : 'https',
    authority: authority.toLowerCase(),
    path: path === '' || clean === '.' ? '' : clean,
  };
}

/** The beginning of a registry's interface. */
export function baseUrl(scheme: string, authority: string, path: string): URL {
  return new URL(`${scheme}://${apiHost(authority)}${path}/`);
}

/** The host that requests go to, and that credentials are looked up by. */
export function apiHost(authority: string): string {
  return isHubHost(authority) ? HUB_API_HOST : authority;
}
