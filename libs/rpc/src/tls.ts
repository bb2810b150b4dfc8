import { readFile } from 'node:fs/promises';
import { RpcError } from './errors.ts';

/** Both sides of a TCP connection prove who they are with a certificate of one authority. All PEM. */
export interface Tls {
  /** Certificates that sign the other side's. */
  readonly authority: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
}

/** @throws {RpcError} `ADDRESS_INVALID` naming the file that cannot be read */
export async function readTls(paths: { readonly authority: string; readonly certificate: string; readonly key: string }): Promise<Tls> {
  const [authority, certificate, key] = await Promise.all([read(paths.authority), read(paths.certificate), read(paths.key)]);
  return { authority, certificate, key };
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new RpcError('ADDRESS_INVALID', `TLS file ${path}`, { cause });
  }
}
