import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { PrivateFolder } from './private-files.ts';

const AUTHORITY_DAYS = 3_650;
const SERVER_DAYS = 825;
const TIMEOUT_MS = 30_000;
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const HOST = /^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/;

const run = promisify(execFile);

/** An authority of its own for one deployment: its certificate is what every service pins. */
export async function makeAuthority(folder: PrivateFolder): Promise<void> {
  const extensions = ['basicConstraints=critical,CA:TRUE,pathlen:0', 'keyUsage=critical,keyCertSign'];
  await inScratch(folder, async (scratch) => {
    await openssl(
      scratch,
      [
        'req',
        '-x509',
        ...NEW_KEY,
        '-keyout',
        'ca.key',
        '-out',
        'ca.crt',
        '-days',
        String(AUTHORITY_DAYS),
        '-subj',
        '/CN=soci bus authority',
      ],
      extensions.flatMap((extension) => ['-addext', extension]),
    );
    for (const name of ['ca.key', 'ca.crt']) await folder.write(name, await readFile(join(scratch, name)));
  });
}

/**
 * A server's certificate, made anew, and its key.
 * @param hosts names and addresses by which services reach it
 */
export async function makeServerCertificate(authority: PrivateFolder, folder: PrivateFolder, hosts: readonly string[]): Promise<void> {
  const names = hosts.map((host) => {
    if (isIP(host) > 0) return `IP:${host}`;
    if (!HOST.test(host)) throw new TypeError(`${JSON.stringify(host)} is no name of a host`);
    return `DNS:${host}`;
  });
  const extensions = ['basicConstraints=critical,CA:FALSE', 'extendedKeyUsage=serverAuth', `subjectAltName=${names.join(',')}`];
  await inScratch(authority, async (scratch) => {
    await writeFile(join(scratch, 'extensions'), extensions.join('\n'));
    await openssl(scratch, ['req', '-new', ...NEW_KEY, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=soci bus']);
    await openssl(scratch, [
      ...['x509', '-req', '-in', 'server.csr', '-CA', authority.at('ca.crt'), '-CAkey', authority.at('ca.key')],
      ...['-set_serial', `0x${serialNumber()}`, '-days', String(SERVER_DAYS), '-extfile', 'extensions', '-out', 'server.crt'],
    ]);
    for (const name of ['server.key', 'server.crt']) await folder.write(name, await readFile(join(scratch, name)));
  });
}

/** The day after which no service takes it. */
export async function expiryOf(certificatePath: string): Promise<Date> {
  return new Date(new X509Certificate(await readFile(certificatePath)).validTo);
}

function serialNumber(): string {
  return `1${crypto.randomUUID().replaceAll('-', '').slice(1)}`;
}

async function inScratch(folder: PrivateFolder, work: (scratch: string) => Promise<void>): Promise<void> {
  const scratch = await mkdtemp(folder.at('.making-'));
  try {
    await chmod(scratch, 0o700);
    await work(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function openssl(cwd: string, args: readonly string[], more: readonly string[] = []): Promise<void> {
  await run('openssl', [...args, ...more], { cwd, timeout: TIMEOUT_MS });
}
