import { basic, decodeAuth, EntryError, Secret, type Credential } from '@soci/keychain';
import { hostOfServerAddress } from './server-address.ts';

/** CRI's AuthConfig, as it came: secrets are bytes of the request, not yet a text that nobody can wipe. */
export interface AuthConfig {
  readonly username: string;
  readonly password: Uint8Array;
  readonly auth: Uint8Array;
  readonly serverAddress: string;
  readonly identityToken: Uint8Array;
  readonly registryToken: Uint8Array;
}

/** What a pull shows its registry. */
export type Login =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'credential';
      readonly credential: Credential;
      /** The only host it is for, empty when it can be for none; left out: the registry of the image. */
      readonly serverHost?: string | undefined;
    }
  | { readonly kind: 'broken'; readonly reason: string; readonly serverHost?: string | undefined };

export const NO_LOGIN: Login = Object.freeze({ kind: 'none' });

/** A registry's longest known secrets are tokens and keys of a few thousand bytes. */
export const MAX_SECRET_BYTES = 16 << 10;
const MAX_USERNAME_LENGTH = 4 << 10;

/**
 * What containerd makes of an AuthConfig: user name and password before identity token before `auth`; a registry token is not supported.
 * @see https://github.com/containerd/containerd/blob/main/internal/cri/server/images/image_pull.go (ParseAuth)
 */
export function toLogin(config: AuthConfig | undefined): Login {
  if (config === undefined) return NO_LOGIN;
  const serverHost = config.serverAddress === '' ? undefined : hostOfServerAddress(config.serverAddress);
  if (config.serverAddress !== '' && serverHost === undefined) return broken('server address is no URL', undefined);
  if (isTooLong(config)) return broken('a user name or secret is too long', serverHost);
  if (config.username !== '') return credential(basic(config.username, config.password), serverHost);
  if (config.identityToken.length > 0) return credential({ kind: 'identity_token', token: Secret.of(config.identityToken) }, serverHost);
  if (config.auth.length > 0) return loginOfAuth(config.auth, serverHost);
  return NO_LOGIN;
}

function isTooLong({ username, password, auth, identityToken }: AuthConfig): boolean {
  return username.length > MAX_USERNAME_LENGTH || [password, auth, identityToken].some(({ length }) => length > MAX_SECRET_BYTES);
}

/** Nothing of the text goes into a message. */
function loginOfAuth(auth: Uint8Array, serverHost: string | undefined): Login {
  try {
    return credential(decodeAuth(Buffer.from(auth.buffer, auth.byteOffset, auth.byteLength).toString('utf8')), serverHost);
  } catch (error) {
    if (!(error instanceof EntryError)) throw error;
    return broken(error.message, serverHost);
  }
}

function credential(made: Credential, serverHost: string | undefined): Login {
  return { kind: 'credential', credential: made, serverHost };
}

function broken(reason: string, serverHost: string | undefined): Login {
  return { kind: 'broken', reason, serverHost };
}
