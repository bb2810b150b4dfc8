import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { Secret } from '@soci/keychain';
import { collectLogs } from '@soci/log';
import { ApiClient } from './api-client.ts';
import { ApiLogin } from './api-login.ts';
import { NOBODY } from './api-target.ts';
import { jsonLines } from './json-lines.ts';
import { listPages } from './list-pages.ts';
import { scopesOf } from './scope.ts';
import { readSecret } from './secret-object.ts';
import { watchEvents } from './watch-events.ts';

const { signal } = new AbortController();
const [scope] = scopesOf([]) as [ReturnType<typeof scopesOf>[number]];
const SECRET = Buffer.from('s3cret').toString('base64');

async function client(t: TestContext, serve: (request: IncomingMessage, response: ServerResponse) => void): Promise<ApiClient> {
  const server = createServer(serve).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const target = {
    origin: 'test',
    server: { url, authority: undefined, isInsecure: false, serverName: undefined, proxyUrl: undefined },
    user: { ...NOBODY, token: Secret.of('t') },
  };
  const api = new ApiClient({ target, login: new ApiLogin({ target, env: {} }), userAgent: 'test/0', log: collectLogs().log });
  t.after(async () => {
    await api[Symbol.asyncDispose]();
    server.closeAllConnections();
    server.close();
  });
  return api;
}

async function drain<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function* chunksOf(...texts: string[]): AsyncGenerator<Buffer> {
  for (const text of texts) yield await Promise.resolve(Buffer.from(text));
}

describe('list', () => {
  it('asks for smaller pages where one is too large', async (t) => {
    const limits: number[] = [];
    const api = await client(t, (request, response) => {
      const query = new URL(request.url ?? '', 'http://x').searchParams;
      const limit = Number(query.get('limit'));
      const start = Number(query.get('continue') ?? 0);
      limits.push(limit);
      assert.equal(query.get('fieldSelector'), 'type=kubernetes.io/dockerconfigjson');
      const items = Array.from({ length: Math.min(limit, 200 - start) }, (_, i) => ({ i: start + i, filler: 'x'.repeat(100_000) }));
      const next = start + items.length < 200 ? { continue: String(start + items.length) } : {};
      response.end(JSON.stringify({ metadata: { resourceVersion: '7', ...next }, items }));
    });
    const pages = await drain(listPages(api, scope, signal));
    assert.deepEqual(
      pages.flatMap(({ items }) => items.map((item) => (item as { i: number }).i)),
      Array.from({ length: 200 }, (_, i) => i),
    );
    assert.deepEqual(limits, [500, 250, 125, 62, 62, 62, 62]);
  });

  const refusals = [
    { status: 401, code: 'UNAUTHORIZED' },
    { status: 403, code: 'DENIED' },
    { status: 410, code: 'GONE' },
    { status: 429, code: 'BUSY' },
    { status: 503, code: 'API_FAILED' },
    { status: 302, code: 'API_FAILED' },
  ];
  for (const { status, code } of refusals) {
    it(`fails with ${code} at status ${status}, and says how long to wait`, async (t) => {
      const api = await client(t, (_request, response) =>
        response.writeHead(status, { 'retry-after': '3', location: 'http://127.0.0.1:1/' }).end(SECRET),
      );
      await assert.rejects(drain(listPages(api, scope, signal)), (error: Error) => {
        return (
          'code' in error &&
          error.code === code &&
          'retryAfterMs' in error &&
          error.retryAfterMs === 3_000 &&
          !error.message.includes(SECRET)
        );
      });
    });
  }

  for (const text of [`{"items":"${SECRET}"`, '[]', '{"metadata":{"resourceVersion":""}}']) {
    it(`fails at ${text.slice(0, 12)}, without a piece of it`, async (t) => {
      const api = await client(t, (_request, response) => response.end(text));
      await assert.rejects(
        drain(listPages(api, scope, signal)),
        (error: Error) => 'code' in error && error.code === 'ANSWER_INVALID' && !error.message.includes(SECRET),
      );
    });
  }

  it('fails where the answer is cut', async (t) => {
    const api = await client(t, (_request, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('{');
      setImmediate(() => response.destroy());
    });
    await assert.rejects(drain(listPages(api, scope, signal)), { code: 'UNREACHABLE' });
  });
});

describe('watch', () => {
  const follow = async (t: TestContext, text: string) => {
    const api = await client(t, (_request, response) => response.end(text));
    const limits = { version: '1', serverTimeoutSec: 5, idleTimeoutMs: 5_000, slackMs: 100, onOpen: () => undefined };
    return await drain(watchEvents(api, scope, limits, signal));
  };

  it('tells events apart', async (t) => {
    const object = { metadata: { resourceVersion: '5' } };
    const lines = ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK'].map((type) => JSON.stringify({ type, object }));
    assert.deepEqual(await follow(t, `${lines.join('\n')}\n`), [
      { kind: 'changed', object },
      { kind: 'changed', object },
      { kind: 'deleted', object },
      { kind: 'bookmark', version: '5' },
    ]);
  });

  it('ends at a version that is too old', async (t) => {
    const gone = { type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' } };
    await assert.rejects(follow(t, `${JSON.stringify(gone)}\n`), { code: 'GONE' });
  });

  it('ends at what is no event', async (t) => {
    await assert.rejects(follow(t, '{"type":"NEW","object":{}}\n'), { code: 'ANSWER_INVALID' });
    await assert.rejects(follow(t, `{"type":"ADDED","object":"${SECRET}\n`), (error: Error) => !error.message.includes(SECRET));
    await assert.rejects(follow(t, '{"type":"BOOKMARK","object":{}}\n'), { code: 'ANSWER_INVALID' });
  });

  it('ends where the server falls silent', async (t) => {
    const api = await client(t, (_request, response) => response.writeHead(200).flushHeaders());
    const limits = { version: '1', serverTimeoutSec: 60, idleTimeoutMs: 300, slackMs: 100, onOpen: () => undefined };
    await assert.rejects(drain(watchEvents(api, scope, limits, signal)), { code: 'UNREACHABLE' });
  });
});

describe('lines of JSON', () => {
  it('come whole, however the bytes do', async () => {
    assert.deepEqual(await drain(jsonLines(chunksOf('{"a"', ':"é"}', '\n\n[1]\n', '2\n3'), 100)), [{ a: 'é' }, [1], 2]);
  });

  it('are bounded', async () => {
    await assert.rejects(drain(jsonLines(chunksOf('"', 'x'.repeat(60), 'x'.repeat(60)), 100)), { code: 'ANSWER_TOO_LARGE' });
    await assert.rejects(drain(jsonLines(chunksOf(`"${'x'.repeat(120)}"\n`), 100)), { code: 'ANSWER_TOO_LARGE' });
  });
});

describe('secret object', () => {
  const metadata = { namespace: 'ns', name: 'n', resourceVersion: '3' };
  const type = 'kubernetes.io/dockercfg';
  const data = { '.dockercfg': Buffer.from('{}').toString('base64'), other: 'x' };

  it('is cut down to what is needed', () => {
    assert.deepEqual(readSecret({ type, metadata, data }, type), {
      secret: { namespace: 'ns', name: 'n', type, document: '{}' },
      version: '3',
    });
    assert.equal(readSecret({ metadata, data: null }, type)?.secret.document, undefined);
  });

  for (const value of [null, [], { metadata: {} }, { type: 'Opaque', metadata, data }, { metadata: { ...metadata, name: 7 } }]) {
    it(`is none: ${JSON.stringify(value).slice(0, 30)}`, () => assert.equal(readSecret(value, type), undefined));
  }
});

describe('namespaces', () => {
  it('are followed once each, or all', () => {
    assert.equal(scopesOf(['a', 'b', 'a']).length, 4);
    assert.deepEqual(new Set(scopesOf([]).map(({ namespace }) => namespace)), new Set([undefined]));
  });

  for (const name of ['', 'A', 'a/b', '../x', '-a', 'a'.repeat(64)]) {
    it(`cannot be called ${JSON.stringify(name.slice(0, 10))}`, () => assert.throws(() => scopesOf([name]), { code: 'CONFIG_INVALID' }));
  }
});
