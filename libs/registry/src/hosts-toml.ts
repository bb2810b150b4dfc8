import { resolve } from 'node:path';
import { parseToml, TomlError } from '@soci/config';
import { parseGoDuration } from '@soci/keychain';
import { z } from 'zod';
import { parseEndpoint, type Endpoint } from './endpoint.ts';
import { RegistryError } from './errors.ts';
import { CAPABILITIES, type Capability } from './registry-host.ts';
import { lineOf } from './toml-line.ts';

/** One host of a hosts.toml. Paths are absolute. */
export interface HostEntry {
  /** Undefined where the registry itself is meant. */
  readonly endpoint: Endpoint | undefined;
  readonly overridePath: boolean;
  readonly capabilities: readonly Capability[];
  readonly authorities: readonly string[] | undefined;
  readonly clients: readonly { readonly certificate: string; readonly key: string | undefined }[] | undefined;
  readonly skipVerify: boolean | undefined;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly dialTimeoutMs: number | undefined;
  readonly credentials: 'mirror' | 'origin';
}

export interface HostsFile {
  /** To be asked before the server, in this order. */
  readonly hosts: readonly HostEntry[];
  readonly server: HostEntry;
}

const MAX_HOSTS = 64;
const MAX_FILES = 16;
const MAX_HEADERS = 32;
/** What belongs to the connection or to the message itself. */
const OWN_HEADERS = ['host', 'content-length', 'transfer-encoding', 'connection', 'keep-alive', 'upgrade', 'expect', 'te', 'trailer'];

const paths = z.array(z.string()).max(MAX_FILES);
const headerValue = z.string().regex(/^[\t\x20-\x7e\x80-\uffff]*$/, 'not the value of a header');
const entryShape = {
  capabilities: z.array(z.string().toLowerCase().pipe(z.enum(CAPABILITIES))).default([]),
  ca: z.union([z.string(), paths]).optional(),
  client: z.union([z.string(), z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])).max(MAX_FILES)]).optional(),
  skip_verify: z.boolean().optional(),
  header: z
    .record(z.string().regex(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/, 'not the name of a header'), z.union([headerValue, z.array(headerValue)]))
    .refine((headers) => Object.keys(headers).length <= MAX_HEADERS, `more than ${MAX_HEADERS} headers`)
    .default({}),
  override_path: z.boolean().default(false),
  dial_timeout: z.string().default(''),
  credentials: z.enum(['mirror', 'origin']).default('mirror'),
};
const entry = z.object(entryShape);
const file = z.object({
  ...entryShape,
  server: z.string().default(''),
  host: z
    .record(z.string(), entry)
    .refine((hosts) => Object.keys(hosts).length <= MAX_HOSTS, `more than ${MAX_HOSTS} hosts`)
    .default({}),
});

/**
 * Reads a hosts.toml as containerd does; `credentials` is ours. Unknown keys mean nothing.
 *
 * @param directory what relative paths start from
 * @throws {RegistryError} `HOSTS_INVALID`, with path and line
 * @see https://github.com/containerd/containerd/blob/main/docs/hosts.md
 */
export function parseHostsToml(text: string, path: string, directory: string): HostsFile {
  const fail = (line: number | undefined, why: string, cause?: unknown): RegistryError =>
    new RegistryError('HOSTS_INVALID', `${path}${line === undefined ? '' : `:${line}`}: ${why}`, { cause });
  let document: unknown;
  try {
    document = parseToml(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    throw fail(cause.line, (cause.message.split('\n', 1)[0] ?? '').replace(/^Invalid TOML document: /, '')); // the rest quotes the file
  }
  const parsed = file.safeParse(document);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = (issue?.path ?? []).map(String);
    throw fail(lineOf(text, where), `${withoutUser(where.join('.'))}: ${issue?.message ?? 'not valid'}`);
  }
  const toEntry = (at: readonly string[], address: string, from: z.output<typeof entry>): HostEntry => {
    try {
      return entryOf(address, from, directory);
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause;
      throw fail(lineOf(text, at), cause.message);
    }
  };
  const { host: hosts, server, ...root } = parsed.data;
  return {
    hosts: Object.entries(hosts).map(([address, from]) => toEntry(['host', address], address, from)),
    server: toEntry(['server'], server, root),
  };
}

/** An address may carry a password, although it must not. */
function withoutUser(text: string): string {
  return text.replace(/\/\/\S*@/g, '//');
}

/** What a folder without hosts.toml says: certificates alone. */
export function bareEntry(
  authorities: readonly string[],
  clients: readonly { readonly certificate: string; readonly key: string | undefined }[],
): HostEntry {
  return {
    endpoint: undefined,
    overridePath: false,
    capabilities: CAPABILITIES,
    authorities: authorities.length === 0 ? undefined : authorities,
    clients: clients.length === 0 ? undefined : clients,
    skipVerify: undefined,
    headers: {},
    dialTimeoutMs: undefined,
    credentials: 'mirror',
  };
}

function entryOf(address: string, from: z.output<typeof entry>, directory: string): HostEntry {
  const absolute = (path: string): string => resolve(directory, path);
  const dialTimeoutMs = from.dial_timeout === '' ? undefined : parseGoDuration(from.dial_timeout);
  if (from.dial_timeout !== '' && !(dialTimeoutMs !== undefined && dialTimeoutMs >= 0))
    throw new SyntaxError('dial_timeout: not a span of time such as 500ms or 5s');
  return {
    endpoint: address === '' ? undefined : parseEndpoint(address),
    overridePath: from.override_path,
    capabilities: from.capabilities.length === 0 || address === '' ? CAPABILITIES : from.capabilities,
    authorities: from.ca === undefined ? undefined : [from.ca].flat().map(absolute),
    clients:
      from.client === undefined
        ? undefined
        : [from.client].flat().map((client) => {
            const [certificate, key = ''] = typeof client === 'string' ? [client] : client;
            return { certificate: absolute(certificate), key: key === '' ? undefined : absolute(key) };
          }),
    skipVerify: from.skip_verify,
    headers: Object.fromEntries(
      Object.entries(from.header)
        .map(([name, value]) => [name.toLowerCase(), [value].flat().join(', ')] as const)
        .filter(([name]) => !OWN_HEADERS.includes(name)),
    ),
    dialTimeoutMs,
    credentials: from.credentials,
  };
}
