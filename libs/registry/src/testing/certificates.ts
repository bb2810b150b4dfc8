import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

/** Why certificates cannot be made here; false when they can. */
export const withoutOpenssl = spawnSync('openssl', ['version']).status !== 0 && 'openssl is not installed';

export interface KeyPair {
  readonly key: string;
  readonly cert: string;
}

export interface Certificates {
  /** Where everything lies as `<name>.key` and `<name>.pem`, the authority as `ca.pem`. */
  readonly directory: string;
  readonly ca: string;
  /** For 127.0.0.1. */
  readonly server: KeyPair;
  /** To be shown by a client, in the name of `node-1`. */
  readonly client: KeyPair;
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** An authority of its own, and what it vouches for; gone after the tests of the file. */
export function makeCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), 'soci-tls-'));
  after(() => rmSync(directory, { recursive: true }));
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: directory, stdio: 'ignore' });
  const read = (name: string): string => readFileSync(join(directory, name), 'utf8');
  openssl('req', '-x509', ...KEY, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test authority', '-days', '2');
  const sign = (name: string, subject: string, extensions: string): KeyPair => {
    openssl('req', ...KEY, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${subject}`);
    writeFileSync(join(directory, `${name}.ext`), extensions);
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`];
    openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-out', `${name}.pem`);
    return { key: read(`${name}.key`), cert: read(`${name}.pem`) };
  };
  const server = sign('server', 'registry', 'subjectAltName=IP:127.0.0.1\n');
  const client = sign('client', 'node-1', 'extendedKeyUsage=clientAuth\n');
  return { directory, ca: read('ca.pem'), server, client };
}
