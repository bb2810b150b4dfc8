import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type ServerHttp2Stream } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { health, version } from '@soci/proto';
import { implement, openChannel, serveGrpc, type GrpcServer, type PassThrough } from './index.ts';

const signal = new AbortController().signal;
const { log } = collectLogs();

function respondOk(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '0' }, { endStream: true });
}

async function start(t: TestContext, passThrough: PassThrough, graceMs?: number): Promise<GrpcServer> {
  const directory = await mkdtemp(join(tmpdir(), 'rpc-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const server = await serveGrpc({
    address: join(directory, 'rpc.sock'),
    services: [implement(version.VersionService, { version: () => Promise.resolve({ version: '1', revision: 'r' }) })],
    log,
    passThrough,
    ...(graceMs === undefined ? {} : { graceMs }),
  });
  t.after(() => server.stop());
  return server;
}

function openSession(t: TestContext, { address }: GrpcServer) {
  const session = connect('http://localhost', { createConnection: () => connectSocket(address.replace('unix://', '')) });
  session.on('error', () => undefined);
  t.after(() => session.destroy());
  return session;
}

const call = (path: string) => ({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });

describe('pass-through', () => {
  it('takes the calls that match, and the services answer the others of the same connection', async (t) => {
    const seen: (readonly string[])[] = [];
    const server = await start(t, {
      matches: (path) => path.startsWith('/other.'),
      handle(stream, _headers, rawHeaders) {
        seen.push(rawHeaders);
        respondOk(stream);
      },
    });
    const session = openSession(t, server);
    const statuses: unknown[] = [];
    for (const path of ['/other.Service/Any', '/not.There/Any', '/other.Service/Any']) {
      const stream = session.request({ ...call(path), 'x-twice': ['1', '2'] }).end();
      const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
      statuses.push(headers['grpc-status']);
      stream.close();
    }
    assert.deepEqual(statuses, ['0', '12', '0']);
    assert.equal(seen.length, 2);
    assert.equal(seen[0]!.filter((text) => text === 'x-twice').length, 2);

    using channel = openChannel({ address: server.address });
    assert.equal((await channel.client(version.VersionService).version({}, { signal })).version, '1');
    assert.equal((await channel.client(health.HealthService).check({ service: '' }, { signal })).status, 1);
  });

  it('touches no other server of the process', async (t) => {
    const first = await start(t, { matches: () => true, handle: respondOk });
    const second = await start(t, { matches: () => false, handle: () => assert.fail('not its call') });
    for (const [server, status] of [
      [first, '0'],
      [second, '12'],
    ] as const) {
      const stream = openSession(t, server).request(call('/not.There/Any')).end();
      const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
      assert.equal(headers['grpc-status'], status);
    }
  });

  it('lets calls under way end when the server stops, and cuts them after the grace period', async (t) => {
    const taken: ServerHttp2Stream[] = [];
    const server = await start(t, { matches: () => true, handle: (stream) => taken.push(stream) }, 100);
    const session = openSession(t, server);
    const ends = session.request(call('/other.Service/Ends')).end();
    const hangs = session.request(call('/other.Service/Hangs')).end();
    hangs.on('error', () => undefined);
    while (taken.length < 2) await new Promise(setImmediate);
    taken[1]!.on('error', () => undefined);
    const stopped = server.stop();
    respondOk(taken[0]!);
    const [headers] = (await once(ends, 'response')) as [Record<string, unknown>];
    assert.equal(headers['grpc-status'], '0');
    await Promise.all([once(taken[1]!, 'close'), stopped]);
  });

  it('does not share a socket under TLS', async () => {
    const tls = { authority: Buffer.alloc(0), certificate: Buffer.alloc(0), key: Buffer.alloc(0) };
    await assert.rejects(
      serveGrpc({ address: 'tcp://127.0.0.1:0', services: [], log, tls, passThrough: { matches: () => true, handle: respondOk } }),
      { code: 'ADDRESS_INVALID' },
    );
  });
});
