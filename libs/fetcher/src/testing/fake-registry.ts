import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { sha256Digest } from '@soci/image';

/** A registry of one repository, `app`, that answers from memory. */
export interface FakeRegistry {
  readonly host: string;
  /** Methods and paths asked for, in order; ranges behind them. */
  readonly requests: string[];
  /** Stores a blob and gives its descriptor. */
  blob(content: Uint8Array | string, mediaType?: string): { mediaType: string; digest: string; size: number };
  /** Stores a manifest and gives its descriptor. */
  manifest(document: object, mediaType: string): { mediaType: string; digest: string; size: number };
  refer(subject: string, descriptor: object): void;
  /** `name:password` that is asked of everybody; nothing where undefined. */
  login: string | undefined;
  /** Changes what an answer would be; undefined leaves it. */
  fault: (path: string) => { readonly status?: number; readonly flip?: boolean; readonly hang?: boolean } | undefined;
  readonly closedByClient: Promise<undefined>;
}

export async function startRegistry(t: TestContext): Promise<FakeRegistry> {
  const blobs = new Map<string, Buffer>();
  const manifests = new Map<string, { readonly bytes: Buffer; readonly mediaType: string }>();
  const referrers = new Map<string, object[]>();
  const requests: string[] = [];
  const closed = Promise.withResolvers<undefined>();
  const registry: FakeRegistry = {
    host: '',
    requests,
    closedByClient: closed.promise,
    fault: () => undefined,
    login: undefined,
    blob(content, mediaType = 'application/octet-stream') {
      const bytes = Buffer.from(content);
      blobs.set(sha256Digest(bytes), bytes);
      return { mediaType, digest: sha256Digest(bytes), size: bytes.length };
    },
    manifest(document, mediaType) {
      const bytes = Buffer.from(JSON.stringify(document));
      manifests.set(sha256Digest(bytes), { bytes, mediaType });
      return { mediaType, digest: sha256Digest(bytes), size: bytes.length };
    },
    refer(subject, descriptor) {
      referrers.set(subject, [...(referrers.get(subject) ?? []), descriptor]);
    },
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://x');
    const [, , , kind = '', digest = ''] = url.pathname.split('/');
    requests.push([request.method, kind, digest.slice(0, 17), request.headers.range].filter(Boolean).join(' '));
    const fault = registry.fault(url.pathname);
    if (fault?.hang === true) {
      response.on('close', () => closed.resolve(undefined));
      return;
    }
    if (fault?.status !== undefined)
      return void response.writeHead(fault.status, { 'content-type': 'application/json' }).end('{"errors":[]}');
    const { login } = registry;
    if (login !== undefined && request.headers.authorization !== `Basic ${Buffer.from(login).toString('base64')}`)
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end('{"errors":[]}');
    const send = (bytes: Buffer, type: string): void => {
      const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
      const [first, last] = range === null ? [0, bytes.length - 1] : [Number(range[1]), Math.min(Number(range[2]), bytes.length - 1)];
      const body = Buffer.from(bytes.subarray(first, last + 1));
      if (fault?.flip === true && body.length > 0) body.writeUInt8(body.readUInt8(0) ^ 1, 0);
      const headers = { 'content-type': type, 'content-length': body.length };
      response.writeHead(
        range === null ? 200 : 206,
        range === null ? headers : { ...headers, 'content-range': `bytes ${first}-${last}/${bytes.length}` },
      );
      response.end(body);
    };
    if (kind === 'referrers') {
      const document = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: referrers.get(digest) ?? [] };
      send(Buffer.from(JSON.stringify(document)), document.mediaType);
      return;
    }
    const manifest = manifests.get(digest);
    const blob = blobs.get(digest);
    if (kind === 'manifests' && manifest !== undefined) send(manifest.bytes, manifest.mediaType);
    else if (kind === 'blobs' && blob !== undefined) send(blob, 'application/octet-stream');
    else response.writeHead(404, { 'content-type': 'application/json' }).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return Object.assign(registry, { host: `127.0.0.1:${(server.address() as AddressInfo).port}` });
}
