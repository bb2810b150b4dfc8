import type { Login } from './cri.ts';

/** The login in an Authorization header; undefined where it is of another scheme. */
export function basicLogin(header: string | undefined): Login | undefined {
  const encoded = /^basic\s+(.*)$/i.exec(header ?? '')?.[1];
  if (encoded === undefined) return undefined;
  const [username = '', ...rest] = Buffer.from(encoded, 'base64').toString().split(':');
  return { username, password: rest.join(':') };
}
