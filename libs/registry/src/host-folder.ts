import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';
import { Connection, type ClientCertificate } from './connection.ts';
import { RegistryError } from './errors.ts';
import { bareEntry, parseHostsToml, type HostEntry, type HostsFile } from './hosts-toml.ts';
import type { SeenFiles } from './seen-files.ts';

const FILE_NAME = 'hosts.toml';
const MAX_TOML_BYTES = 256 * 1024;
const MAX_PEM_BYTES = 1024 * 1024;
const MAX_CERTIFICATES = 64;

/**
 * The folder that speaks of a registry: of all roots the first that has one by its name or, failing that, a `_default`.
 *
 * @param namespace host part of a reference
 * @returns undefined when there is none
 * @throws {RegistryError} `HOSTS_INVALID` when a root cannot be looked into
 */
export async function findHostFolder(roots: readonly string[], namespace: string, files: SeenFiles): Promise<string | undefined> {
  for (const root of roots) {
    for (const name of folderNames(namespace)) {
      const folder = join(root, name);
      if (await files.exists(folder)) return folder;
    }
  }
  return undefined;
}

/**
 * What a folder says. A hosts.toml that cannot be understood is as if it were not there, which the log says: then, as without one, certificates in the folder count.
 *
 * @throws {RegistryError} `HOSTS_INVALID` when a file cannot be read
 */
export async function readHostFolder(folder: string, files: SeenFiles, log: Logger): Promise<HostsFile> {
  const path = join(folder, FILE_NAME);
  const text = await files.read(path, MAX_TOML_BYTES);
  if (text !== undefined && text !== '') {
    try {
      return parseHostsToml(text, path, folder);
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      log.error({ path, error }, 'hosts.toml is broken and does not count');
    }
  }
  const names = await files.list(folder);
  const authorities = names.filter((name) => name.endsWith('.crt')).map((name) => join(folder, name));
  const clients = names
    .filter((name) => name.endsWith('.cert'))
    .map((name) => {
      const key = `${name.slice(0, -'.cert'.length)}.key`;
      return { certificate: join(folder, name), key: names.includes(key) ? join(folder, key) : undefined };
    });
  if (authorities.length + clients.length > MAX_CERTIFICATES)
    throw new RegistryError('HOSTS_INVALID', `${folder}: more than ${MAX_CERTIFICATES} certificates`);
  return { hosts: [], server: bareEntry(authorities, clients) };
}

/**
 * Loads what an entry names.
 *
 * @returns undefined when it says nothing about connections
 * @throws {RegistryError} `HOSTS_INVALID` when a file is missing or not what it should be
 */
export async function loadConnection(
  { authorities, clients, skipVerify, dialTimeoutMs }: HostEntry,
  files: SeenFiles,
  skipVerifyByDefault: boolean,
): Promise<Connection | undefined> {
  const isInsecure = skipVerify ?? skipVerifyByDefault;
  if (authorities === undefined && clients === undefined && !isInsecure && dialTimeoutMs === undefined) return undefined;
  const trusted: string[] = [];
  for (const path of authorities ?? []) trusted.push(await readAuthority(path, files));
  const pairs: ClientCertificate[] = [];
  for (const { certificate, key } of clients ?? []) pairs.push(await readClient(certificate, key, files));
  return new Connection({ authorities: trusted, clients: pairs, isInsecure, ...(dialTimeoutMs === undefined ? {} : { dialTimeoutMs }) });
}

async function readAuthority(path: string, files: SeenFiles): Promise<string> {
  const pem = await readPem(path, files);
  try {
    new X509Certificate(pem); // of several the first; a store of many is taken at its word
  } catch (cause) {
    throw new RegistryError('HOSTS_INVALID', `${path} is no certificate: ${describeError(cause)}`);
  }
  return pem;
}

async function readClient(certificatePath: string, keyPath: string | undefined, files: SeenFiles): Promise<ClientCertificate> {
  const certificate = await readPem(certificatePath, files);
  const key = keyPath === undefined ? undefined : await readPem(keyPath, files);
  const client = key === undefined ? { certificate } : { certificate, key };
  try {
    new Connection({ clients: [client] });
  } catch (cause) {
    const what = keyPath === undefined ? certificatePath : `${certificatePath} with ${keyPath}`;
    throw new RegistryError('HOSTS_INVALID', `${what} is no client certificate: ${describeError(cause)}`);
  }
  return client;
}

async function readPem(path: string, files: SeenFiles): Promise<string> {
  const text = await files.read(path, MAX_PEM_BYTES);
  if (text === undefined) throw new RegistryError('HOSTS_INVALID', `${path} cannot be used: there is no such file`);
  return text;
}

/** `host_5000_` before `host:5000`, as `:` is not welcome in names of folders everywhere. */
function folderNames(namespace: string): readonly string[] {
  if (!/^[A-Za-z0-9.:[\]_-]+$/.test(namespace) || /^\.+$/.test(namespace)) return ['_default']; // no name of a folder
  const colon = namespace.lastIndexOf(':');
  const spelled = colon > 0 ? [`${namespace.slice(0, colon)}_${namespace.slice(colon + 1)}_`] : [];
  return [...spelled, namespace, '_default'];
}
