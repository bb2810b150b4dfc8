import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { connect as connectSocket, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { hasCode } from '@soci/errors';
import { collectLogs } from '@soci/log';
import { content, Empty, health, version } from '@soci/proto';
import {
  implement,
  openChannel,
  RpcError,
  serveGrpc,
  type CallContext,
  type GrpcServer,
  type Handlers,
  type ServeOptions,
} from './index.ts';

const signal = new AbortController().signal;
const { log } = collectLogs();

async function makeTempDir(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rpc-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

type VersionHandler = Handlers<typeof version.VersionService>['version'];

async function startVersion(t: TestContext, handle: VersionHandler, options: Partial<ServeOptions> = {}): Promise<GrpcServer> {
  const address = options.address ?? join(await makeTempDir(t), 'rpc.sock');
  const server = await serveGrpc({ address, services: [implement(version.VersionService, { version: handle })], log, ...options });
  t.after(() => server.stop());
  return server;
}

function connect(
  t: TestContext,
  { address }: { address: string },
  options: { deadlineMs?: number; headers?: Record<string, string> } = {},
) {
  const channel = openChannel({ address, ...options });
  t.after(() => channel[Symbol.dispose]());
  return channel;
}

const hello: VersionHandler = () => Promise.resolve({ version: '1', revision: 'r' });

describe('unary calls', () => {
  it('answer, with namespace and deadline of the caller', async (t) => {
    const seen: CallContext[] = [];
    const server = await startVersion(t, (_, call) => {
      seen.push(call);
      return hello({}, call);
    });
    const channel = connect(t, server, { headers: { 'containerd-namespace': 'k8s.io' }, deadlineMs: 5_000 });
    assert.deepEqual(await channel.client(version.VersionService).version({}, { signal }), { version: '1', revision: 'r' });
    assert.equal(seen[0]!.namespace, 'k8s.io');
    const left = Number(seen[0]!.deadline) - Date.now();
    assert.ok(left > 3_000 && left <= 5_000, String(left));
    assert.equal(seen[0]!.header('absent'), undefined);
  });

  const errors = [
    { thrown: new RpcError('ALREADY_EXISTS', 'taken'), code: 'ALREADY_EXISTS', message: 'taken' },
    { thrown: Object.assign(new Error('no such blob'), { code: 'NOT_FOUND' }), code: 'NOT_FOUND', message: 'no such blob' },
    {
      thrown: Object.assign(new Error('wrong bytes', { cause: new Error('span 3') }), { code: 'DIGEST_MISMATCH' }),
      code: 'DATA_LOSS',
      message: 'wrong bytes: span 3',
    },
    { thrown: Object.assign(new Error('open helper'), { code: 'ENOENT' }), code: 'UNKNOWN', message: 'open helper' },
    { thrown: Object.assign(new Error('write'), { code: 'ENOSPC' }), code: 'RESOURCE_EXHAUSTED', message: 'write' },
    { thrown: new DOMException('too slow', 'TimeoutError'), code: 'DEADLINE_EXCEEDED', message: 'too slow' },
  ];
  for (const { thrown, code, message } of errors) {
    it(`carry ${message} as ${code}`, async (t) => {
      const server = await startVersion(t, () => {
        throw thrown;
      });
      const error: unknown = await connect(t, server)
        .client(version.VersionService)
        .version({}, { signal })
        .catch((e: unknown) => e);
      assert.ok(error instanceof RpcError);
      assert.deepEqual([error.code, error.message], [code, message]);
    });
  }

  it('abort the handler when the caller gives up', async (t) => {
    const aborted = Promise.withResolvers<unknown>();
    const started = Promise.withResolvers<undefined>();
    const server = await startVersion(t, (_, call) => {
      call.signal.addEventListener('abort', () => aborted.resolve(call.signal.reason));
      started.resolve(undefined);
      return new Promise(() => undefined);
    });
    const controller = new AbortController();
    const call = connect(t, server).client(version.VersionService).version({}, { signal: controller.signal });
    await started.promise;
    controller.abort(new Error('enough'));
    await assert.rejects(call, /enough/);
    assert.ok(hasCode(await aborted.promise, 'CANCELLED'));
  });

  it('end at the deadline on both sides', async (t) => {
    const aborted = Promise.withResolvers<unknown>();
    const server = await startVersion(t, (_, call) => {
      call.signal.addEventListener('abort', () => aborted.resolve(call.signal.reason));
      return new Promise(() => undefined);
    });
    const call = connect(t, server, { deadlineMs: 50 }).client(version.VersionService).version({}, { signal });
    await assert.rejects(call, (error) => hasCode(error, 'DEADLINE_EXCEEDED'));
    assert.ok(hasCode(await aborted.promise, 'DEADLINE_EXCEEDED', 'CANCELLED'));
  });

  it('say UNAVAILABLE when nobody listens', async (t) => {
    const channel = connect(t, { address: join(await makeTempDir(t), 'none.sock') });
    await assert.rejects(channel.client(version.VersionService).version({}, { signal }), {
      code: 'UNAVAILABLE',
      message: /^connect ENOENT [^ ]+none.sock$/,
    });
  });
});

const CHUNK = Buffer.alloc(256 << 10);

function contentHandlers(read: Handlers<typeof content.ContentService>['read']): Handlers<typeof content.ContentService> {
  const absent = () => Promise.reject(new RpcError('UNIMPLEMENTED', 'not here'));
  return {
    info: absent,
    update: absent,
    list: read as never,
    delete: absent,
    read,
    status: absent,
    listStatuses: absent,
    write: read as never,
    abort: absent,
  };
}

describe('streams', () => {
  async function startContent(t: TestContext, read: Handlers<typeof content.ContentService>['read']) {
    const address = join(await makeTempDir(t), 'rpc.sock');
    const server = await serveGrpc({ address, services: [implement(content.ContentService, contentHandlers(read))], log, graceMs: 200 });
    t.after(() => server.stop());
    return connect(t, server).client(content.ContentService);
  }
  const request = { digest: 'sha256:00', offset: 0n, size: 0n };

  it('deliver in order and report an error after what came before it', async (t) => {
    const client = await startContent(t, async function* () {
      for (let i = 0; i < 40; i++) yield await Promise.resolve({ offset: BigInt(i), data: CHUNK });
      throw new RpcError('DATA_LOSS', 'torn');
    });
    const offsets: bigint[] = [];
    const all = async () => {
      for await (const { offset, data } of client.read(request, { signal })) {
        offsets.push(offset);
        assert.equal(data.length, CHUNK.length);
      }
    };
    await assert.rejects(all(), (error) => hasCode(error, 'DATA_LOSS') && error.message === 'torn');
    assert.deepEqual(
      offsets,
      Array.from({ length: 40 }, (_, i) => BigInt(i)),
    );
  });

  it('hold the server back while the consumer is busy, and stop it when the loop is left', async (t) => {
    let made = 0;
    const stopped = Promise.withResolvers<undefined>();
    const client = await startContent(t, async function* (_, call) {
      try {
        while (!call.signal.aborted) yield await Promise.resolve({ offset: BigInt(made++), data: CHUNK });
      } finally {
        stopped.resolve(undefined);
      }
    });
    for await (const { offset } of client.read(request, { signal })) {
      if (offset === 0n) await new Promise((resolve) => setTimeout(resolve, 100));
      else break;
    }
    await stopped.promise;
    assert.ok(made * CHUNK.length < 16 << 20, `made ${made} messages`);
  });
});

describe('health', () => {
  it('knows the server, its services and no others', async (t) => {
    const client = connect(t, await startVersion(t, hello)).client(health.HealthService);
    for (const service of ['', 'containerd.services.version.v1.Version']) {
      assert.deepEqual(await client.check({ service }, { signal }), { status: health.HealthCheckResponse_ServingStatus.SERVING });
    }
    await assert.rejects(client.check({ service: 'x' }, { signal }), (error) => hasCode(error, 'NOT_FOUND'));
  });

  it('tells watchers of changes, and a stop ends them', async (t) => {
    const server = await startVersion(t, hello);
    const seen: number[] = [];
    const watch = async () => {
      for await (const { status } of connect(t, server)
        .client(health.HealthService)
        .watch({ service: '' }, { signal, deadlineMs: Infinity })) {
        seen.push(status);
        if (seen.length === 1) server.health.set('', false);
        if (seen.length === 2) void server.stop();
      }
    };
    await assert.rejects(watch(), (error) => hasCode(error, 'UNAVAILABLE'));
    assert.deepEqual(seen, [1, 2]);
  });
});

describe('stop', () => {
  it('waits for a call under way', async (t) => {
    const started = Promise.withResolvers<undefined>();
    const finish = Promise.withResolvers<undefined>();
    const server = await startVersion(t, async (request, call) => {
      started.resolve(undefined);
      await finish.promise;
      return hello(request, call);
    });
    const call = connect(t, server).client(version.VersionService).version({}, { signal });
    await started.promise;
    const stopped = server.stop();
    finish.resolve(undefined);
    assert.equal((await call).version, '1');
    await stopped;
  });

  it('cancels it after the grace period', async (t) => {
    const started = Promise.withResolvers<undefined>();
    const aborted = Promise.withResolvers<undefined>();
    const server = await startVersion(
      t,
      (_, call) => {
        call.signal.addEventListener('abort', () => aborted.resolve(undefined));
        started.resolve(undefined);
        return new Promise(() => undefined);
      },
      { graceMs: 100 },
    );
    const call = connect(t, server).client(version.VersionService).version({}, { signal });
    const ended = assert.rejects(call);
    await started.promise;
    const before = Date.now();
    await server.stop();
    assert.ok(Date.now() - before < 1_500);
    await Promise.all([ended, aborted.promise]);
  });

  it('is not held up by idle connections', async (t) => {
    const server = await startVersion(t, hello, { graceMs: 5_000 });
    await connect(t, server).client(version.VersionService).version({}, { signal });
    const before = Date.now();
    await server.stop();
    assert.ok(Date.now() - before < 1_000);
  });
});

describe('the socket', () => {
  it('gets its parent directory, closed to others, and the mode asked for', async (t) => {
    const directory = join(await makeTempDir(t), 'made');
    const server = await startVersion(t, hello, { address: `unix://${directory}/rpc.sock`, socketMode: 0o600 });
    assert.equal((await stat(directory)).mode & 0o777, 0o700);
    assert.equal((await stat(join(directory, 'rpc.sock'))).mode & 0o777, 0o600);
    assert.equal(server.address, `unix://${directory}/rpc.sock`);
  });

  it('takes the place of one whose process died', async (t) => {
    const path = join(await makeTempDir(t), 'rpc.sock');
    const child = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    await once(child, 'exit');
    assert.ok((await stat(path)).isSocket());
    const server = await startVersion(t, hello, { address: path });
    assert.equal((await connect(t, server).client(version.VersionService).version(Empty.create(), { signal })).version, '1');
  });

  it('leaves one that answers alone', async (t) => {
    const path = join(await makeTempDir(t), 'rpc.sock');
    const other: Server = createServer().listen(path);
    t.after(() => other.close());
    await once(other, 'listening');
    await assert.rejects(startVersion(t, hello, { address: path }), (error) => hasCode(error, 'ADDRESS_IN_USE'));
    assert.ok(other.listening);
  });

  it('never removes what is not a socket', async (t) => {
    const path = join(await makeTempDir(t), 'file');
    await writeFile(path, 'keep me');
    await assert.rejects(startVersion(t, hello, { address: path }), (error) => hasCode(error, 'ADDRESS_IN_USE'));
    await chmod(path, 0o600);
  });

  it('goes on after one who does not speak the protocol, or goes away at once', async (t) => {
    const server = await startVersion(t, hello);
    for (const bytes of ['', 'GET / HTTP/1.1\r\n\r\n', Buffer.alloc(4096, 0xff)]) {
      const socket = connectSocket(server.address.replace('unix://', ''));
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      socket.write(bytes, () => socket.destroy());
      await once(socket, 'close');
    }
    assert.equal((await connect(t, server).client(version.VersionService).version({}, { signal })).version, '1');
  });

  const refused = ['http://x', 'unix://', '', 'tcp://host', 'tcp://host:70000', `/${'x'.repeat(110)}`, 'fd://'];
  for (const address of refused) {
    it(`is not made from ${JSON.stringify(address)}`, async (t) => {
      await assert.rejects(startVersion(t, hello, { address }), (error) => hasCode(error, 'ADDRESS_INVALID'));
    });
  }

  it('is not opened on TCP without TLS', async (t) => {
    await assert.rejects(startVersion(t, hello, { address: 'tcp://127.0.0.1:0' }), (error) => hasCode(error, 'ADDRESS_INVALID'));
  });
});
