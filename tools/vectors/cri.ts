import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createImageServiceProxy, CriCredentials } from '@soci/cri';
import { describeError } from '@soci/errors';
import { parseReference } from '@soci/image';
import type { Logger } from '@soci/log';
import { cri, type ServiceClient } from '@soci/proto';
import { implement, openChannel, RpcError, serveGrpc, type GrpcServer } from '@soci/rpc';
import { z } from 'zod';
import { describeAnswer } from './credentials.ts';
import type { Outcome, Row } from './row.ts';

/** Rows write the protocol's own field names. */
const auth = z.object({
  username: z.string().optional(),
  password: z.string().optional(),
  auth: z.string().optional(),
  server_address: z.string().optional(),
  identity_token: z.string().optional(),
  registry_token: z.string().optional(),
});
const pull = z.object({
  op: z.literal('pull'),
  image: z.string(),
  auth: auth.nullable(),
  backend: z.enum(['ok', 'error']).default('ok'),
  image_id: z.string().default(''),
});
const event = z.discriminatedUnion('op', [
  pull,
  z.object({ op: z.literal('remove'), image: z.string() }),
  z.object({ op: z.literal('restart') }),
  z.object({ op: z.literal('rejected'), ref: z.string() }),
]);
const input = z.object({ events: z.array(event), host: z.string(), backend_connected: z.boolean().default(true), call: pull.optional() });
type Pull = z.infer<typeof pull>;
type Event = z.infer<typeof event>;

/** Runs a row of source `cri`: its calls go over sockets, through the proxy, to a backend that answers what the row says. */
export async function runCriRow(row: Row, log: Logger, signal: AbortSignal): Promise<Outcome> {
  const { events, host, backend_connected: isConnected, call } = input.parse(row.input);
  await using setting = await openSetting(log, isConnected);
  try {
    for (const next of call === undefined ? events : [call, ...events]) await setting.play(next, signal);
    if (row.expect.kind === 'forwarded')
      return { kind: setting.forwarded === events.length && setting.credentials.size === 0 ? 'forwarded' : 'kept back' };
    const answer = await setting.credentials.resolve({ host, reference: parseReference(row.ref_or_host), namespaces: [] });
    if (answer.kind !== 'candidates') return describeAnswer(answer);
    // A row that expects one credential means the one that is tried after those that were refused.
    const refused = events.filter(({ op }) => op === 'rejected').length;
    return describeAnswer({ ...answer, candidates: answer.candidates.slice(refused, refused + 1) });
  } catch (error) {
    return { kind: 'error', message: describeError(error) };
  }
}

interface Setting extends AsyncDisposable {
  readonly credentials: CriCredentials;
  /** Calls that reached the backend. */
  readonly forwarded: number;
  play(next: Event, signal: AbortSignal): Promise<void>;
}

async function openSetting(log: Logger, isConnected: boolean): Promise<Setting> {
  await using resources = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'soci-vectors-'));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  const path = join(directory, 'containerd.sock');
  const backend = new Backend();
  if (isConnected) resources.use(await backend.serve(path, log));
  const open = async () => {
    await using own = new AsyncDisposableStack();
    const credentials = own.use(new CriCredentials());
    const proxy = own.use(createImageServiceProxy({ upstream: { path, ownerUid: process.getuid?.() ?? 0 }, credentials, log }));
    const server = own.use(await serveGrpc({ address: join(directory, 'proxy.sock'), services: [], passThrough: proxy, log }));
    const images = own.use(openChannel({ address: server.address })).client(cri.ImageServiceService);
    return { credentials, images, close: own.move() };
  };
  let proxied = await open();
  resources.defer(() => proxied.close.disposeAsync());
  const owned = resources.move();
  return {
    get credentials() {
      return proxied.credentials;
    },
    get forwarded() {
      return backend.calls;
    },
    async play(next, signal) {
      if (next.op === 'pull') await pullThrough(proxied.images, backend, next, signal);
      else if (next.op === 'remove')
        await proxied.images.removeImage(cri.RemoveImageRequest.fromPartial({ image: { image: next.image } }), { signal });
      else if (next.op === 'restart') {
        await proxied.close.disposeAsync();
        proxied = await open();
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Throws for a call that failed otherwise than the row has the backend fail it. */
async function pullThrough(
  images: ServiceClient<typeof cri.ImageServiceService>,
  backend: Backend,
  wanted: Pull,
  signal: AbortSignal,
): Promise<void> {
  backend.next = wanted;
  const request = cri.PullImageRequest.fromPartial({
    image: { image: wanted.image },
    ...(wanted.auth !== null && {
      auth: {
        username: wanted.auth.username ?? '',
        password: wanted.auth.password ?? '',
        auth: wanted.auth.auth ?? '',
        serverAddress: wanted.auth.server_address ?? '',
        identityToken: wanted.auth.identity_token ?? '',
        registryToken: wanted.auth.registry_token ?? '',
      },
    }),
  });
  try {
    await images.pullImage(request, { signal });
  } catch (error) {
    if (!(error instanceof RpcError) || error.code !== 'PERMISSION_DENIED' || wanted.backend === 'ok') throw error;
  }
}

/** Stands for containerd. */
class Backend {
  calls = 0;
  next: Pull | undefined;

  serve(path: string, log: Logger): Promise<GrpcServer> {
    const definition = { pullImage: cri.ImageServiceService.pullImage, removeImage: cri.ImageServiceService.removeImage };
    const implementation = implement(definition, {
      pullImage: () => {
        this.calls++;
        if (this.next?.backend === 'error') throw new RpcError('PERMISSION_DENIED', 'as the row says');
        return Promise.resolve(cri.PullImageResponse.fromPartial({ imageRef: this.next?.image_id ?? '' }));
      },
      removeImage: () => {
        this.calls++;
        return Promise.resolve(cri.RemoveImageResponse.fromPartial({}));
      },
    });
    return serveGrpc({ address: path, services: [implementation], log });
  }
}
