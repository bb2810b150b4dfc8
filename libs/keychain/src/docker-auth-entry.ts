import { basic, identityToken, registryToken, type Credential } from './credential.ts';
import { JsonObject, type JsonValue } from './go-json.ts';

const COLON = 0x3a;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Whether base64 has to end in its `=`: docker/cli wants them, the kubelet takes what comes without, too. */
export type Padding = 'required' | 'optional';

/** Why an entry cannot be used. The message never quotes the entry. */
export class EntryError extends Error {
  override readonly name = 'EntryError';
}

/**
 * Turns one member of `auths` into a credential: an identity token beats a registry token, that beats `auth`, that beats `username` and `password`.
 *
 * @returns undefined for an entry that says nothing (`{}`, which `docker login` leaves where a helper keeps the secret)
 * @throws {EntryError}
 */
export function credentialOf(entry: JsonValue, padding: Padding): Credential | undefined {
  if (entry === null) return undefined;
  if (!(entry instanceof JsonObject)) throw new EntryError('not an object');
  const identity = textMember(entry, 'identitytoken');
  const registry = textMember(entry, 'registrytoken');
  const auth = textMember(entry, 'auth');
  const username = textMember(entry, 'username');
  const password = textMember(entry, 'password');
  if (identity !== '') return identityToken(identity);
  if (registry !== '') return registryToken(registry);
  if (auth !== '') return decodeAuth(auth, padding);
  return username === '' && password === '' ? undefined : basic(username, password);
}

/**
 * Decodes `base64(user:password)` as strictly as docker/cli: standard base64, in which only line ends are skipped (Node's decoder accepts anything).
 *
 * @throws {EntryError}
 */
export function decodeAuth(auth: string, padding: Padding = 'required'): Credential {
  const bare = auth.replace(/[\r\n]/g, '');
  const text = padding === 'optional' && !bare.includes('=') ? bare.padEnd(Math.ceil(bare.length / 4) * 4, '=') : bare;
  if (!BASE64.test(text)) throw new EntryError(padding === 'required' ? 'auth is not padded base64' : 'auth is not base64');
  const bytes = Buffer.from(text, 'base64');
  try {
    const colon = bytes.indexOf(COLON);
    if (colon <= 0) throw new EntryError('invalid decoded auth: no user name before a colon');
    return basic(bytes.toString('utf8', 0, colon), withoutNuls(bytes.subarray(colon + 1)));
  } finally {
    bytes.fill(0);
  }
}

/** The last text that the entry gives for a member; `null` leaves an earlier one as it is, as in Go. */
function textMember(entry: JsonObject, name: string): string {
  const values = entry.all(name).filter((value) => value !== null);
  if (values.some((value) => typeof value !== 'string')) throw new EntryError(`${name} is not a text`);
  return (values.at(-1) as string | undefined) ?? '';
}

function withoutNuls(bytes: Buffer): Buffer {
  let start = 0;
  let end = bytes.length;
  while (start < end && bytes[start] === 0) start++;
  while (end > start && bytes[end - 1] === 0) end--;
  return bytes.subarray(start, end);
}
