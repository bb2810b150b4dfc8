import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { fetch as api } from '@soci/proto';
import { type GrpcServer, openChannel, serveGrpc } from '@soci/rpc';
import { fetchService, type ServableFetcher } from '../fetch-service.ts';
import { RemoteImageFetcher } from '../remote-image-fetcher.ts';

export interface OverSocket {
  readonly fetcher: RemoteImageFetcher;
  /** Stops the server, as its process would; how long that took. */
  stop(): Promise<number>;
  startAgain(): Promise<void>;
}

/** A fetcher as another process sees it. */
export async function overSocket(t: TestContext, origin: ServableFetcher): Promise<OverSocket> {
  const folder = await mkdtemp(join(tmpdir(), 'soci-fetch-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const address = `unix://${join(folder, 'fetch.sock')}`;
  let running: { readonly server: GrpcServer; readonly stopping: AbortController } | undefined;
  const startAgain = async (): Promise<void> => {
    const stopping = new AbortController();
    running = {
      stopping,
      server: await serveGrpc({ address, services: [fetchService(origin, stopping.signal)], log: collectLogs().log }),
    };
  };
  const stop = async (): Promise<number> => {
    const started = performance.now();
    running?.stopping.abort(new Error('the service stops'));
    await running?.server.stop();
    return performance.now() - started;
  };
  await startAgain();
  t.after(stop);
  const channel = openChannel({ address });
  t.after(() => channel[Symbol.dispose]());
  return { fetcher: new RemoteImageFetcher(channel.client(api.FetchServiceService)), stop, startAgain };
}
