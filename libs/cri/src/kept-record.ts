import { parseReference, type ImageReference } from '@soci/image';
import { basic, Secret, type Credential } from '@soci/keychain';
import { NO_LOGIN, type Login } from './login.ts';

/** What an entry's record says, beside the numbers that change. */
export interface EntryBody {
  readonly reference: ImageReference;
  readonly namespace: string;
  readonly imageId: string;
  /** Of a login with a credential: the checksum of the record that has it. */
  readonly secret: string | undefined;
  /** The login, once the credential is there. */
  readonly login: (credential: Credential | undefined) => Login | undefined;
}

const CREDENTIAL_KINDS = ['basic', 'identity_token', 'registry_token'] as const;
const HEADER_BYTES = 5; // kind, length of the user name

/** Secrets go without a text in between. The caller overwrites what this returns. */
export function secretBody(credential: Exclude<Credential, { kind: 'anonymous' }>): Buffer {
  const username = Buffer.from(credential.kind === 'basic' ? credential.username : '');
  const secret = (credential.kind === 'basic' ? credential.password : credential.token).revealBytes();
  const body = Buffer.alloc(HEADER_BYTES + username.length + secret.length);
  body.writeUInt8(CREDENTIAL_KINDS.indexOf(credential.kind), 0);
  body.writeUInt32LE(username.length, 1);
  body.set(username, HEADER_BYTES);
  body.set(secret, HEADER_BYTES + username.length);
  return body;
}

/** @returns undefined for what this program would not write */
export function parseSecretBody(body: Buffer): Credential | undefined {
  if (body.length < HEADER_BYTES) return undefined;
  const kind = CREDENTIAL_KINDS[body.readUInt8(0)];
  const end = HEADER_BYTES + body.readUInt32LE(1);
  if (kind === undefined || end > body.length) return undefined;
  const secret = body.subarray(end);
  if (kind === 'basic') return basic(body.toString('utf8', HEADER_BYTES, end), secret);
  return end === HEADER_BYTES ? { kind, token: Secret.of(secret) } : undefined;
}

/** @param secret checksum of the record of its credential, if it has one */
export function entryBody(
  {
    reference,
    namespace,
    imageId,
    login,
  }: { readonly reference: string; readonly namespace: string; readonly imageId: string; readonly login: Login },
  secret: string | undefined,
): Buffer {
  const { kind } = login;
  const serverHost = kind === 'none' ? undefined : login.serverHost;
  const reason = kind === 'broken' ? login.reason : undefined;
  return Buffer.from(JSON.stringify({ reference, namespace, imageId, kind, serverHost, reason, secret }));
}

/** @returns undefined for what this program would not write */
export function parseEntryBody(body: Buffer): EntryBody | undefined {
  const fields = parseFields(body);
  const { namespace, imageId } = fields;
  const reference = canonicalReference(fields['reference']);
  const login = loginOf(fields);
  if (reference === undefined || login === undefined || typeof namespace !== 'string' || typeof imageId !== 'string') return undefined;
  const secret = optionalText(fields['secret']);
  return { reference, namespace, imageId, secret, login };
}

function parseFields(body: Buffer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

function canonicalReference(text: unknown): ImageReference | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    const reference = parseReference(text);
    return reference.canonical() === text ? reference : undefined;
  } catch {
    return undefined;
  }
}

function loginOf({ kind, serverHost, reason }: Readonly<Record<string, unknown>>): EntryBody['login'] | undefined {
  const host = optionalText(serverHost);
  if (kind === 'none') return () => NO_LOGIN;
  if (kind === 'broken' && typeof reason === 'string') return () => ({ kind, reason, serverHost: host });
  if (kind === 'credential') return (credential) => credential && { kind, credential, serverHost: host };
  return undefined;
}

function optionalText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
