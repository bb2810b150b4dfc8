import { readFile } from 'node:fs/promises';
import type { Secret } from '@soci/keychain';
import { SecretsError } from './errors.ts';

/** PEM, in a file that may be replaced at any time or as it stands in the kubeconfig. */
export type Pem = { readonly kind: 'file'; readonly path: string } | { readonly kind: 'data'; readonly bytes: Buffer };

export interface ApiServer {
  /** Without a slash at its end; may have a path. */
  readonly url: string;
  /** Authority to trust instead of those of the system. */
  readonly authority: Pem | undefined;
  readonly isInsecure: boolean;
  /** Name that the certificate is for, where it is not the URL's. */
  readonly serverName: string | undefined;
  readonly proxyUrl: string | undefined;
}

/** A program that prints an ExecCredential. */
export interface LoginProgram {
  /** Absolute, or a name to be looked for on the path. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly apiVersion: string;
  /** Whether it is to be told about the server. */
  readonly wantsServer: boolean;
}

/** All ways to log in that the kubeconfig names; the first of token file, token, program, OpenID and password that gives something is used. */
export interface ApiUser {
  readonly tokenFile: string | undefined;
  readonly token: Secret | undefined;
  readonly program: LoginProgram | undefined;
  /** Value of the Authorization header, refreshed where that is needed. */
  readonly openId: (() => Promise<string | undefined>) | undefined;
  readonly password: { readonly username: string; readonly password: Secret } | undefined;
  readonly certificate: Pem | undefined;
  readonly key: Pem | undefined;
  /** Headers that ask to be taken for somebody else. */
  readonly impersonation: Readonly<Record<string, string | readonly string[]>>;
}

/** Which API server to follow, and as whom. */
export interface ApiTarget {
  /** Where that was read, for messages. */
  readonly origin: string;
  readonly server: ApiServer;
  readonly user: ApiUser;
}

export const NOBODY: ApiUser = {
  tokenFile: undefined,
  token: undefined,
  program: undefined,
  openId: undefined,
  password: undefined,
  certificate: undefined,
  key: undefined,
  impersonation: {},
};

const MAX_FILE_BYTES = 1024 * 1024;

/** @throws {SecretsError} `LOGIN_FAILED` */
export async function readPem(pem: Pem | undefined, signal: AbortSignal): Promise<Buffer | undefined> {
  return pem?.kind === 'file' ? readLoginFile(pem.path, signal) : pem?.bytes;
}

/**
 * Reads a file that belongs to a login, each time anew: a rotated token or certificate counts from the next request on.
 * @throws {SecretsError} `LOGIN_FAILED`
 */
export async function readLoginFile(path: string, signal: AbortSignal): Promise<Buffer> {
  try {
    const bytes = await readFile(path, { signal });
    if (bytes.length > MAX_FILE_BYTES) throw new Error(`larger than ${MAX_FILE_BYTES} bytes`);
    return bytes;
  } catch (cause) {
    signal.throwIfAborted();
    throw new SecretsError('LOGIN_FAILED', `${path}: cannot be read`, { cause });
  }
}
