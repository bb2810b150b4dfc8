import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chown } from 'node:fs/promises';
import { constants } from 'node:http2';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { credentials as grpcCredentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { parseReference } from '@soci/image';
import { cri } from '@soci/proto';
import type { CriCredentials } from './index.ts';
import { answer, bodyOf, call, frame, openSession, PULL, refuse, startProxied, type UpstreamCall } from './testing/image-service.ts';

const APP = 'registry.example.com/team-a/app:1.0';
const signal = new AbortController().signal;

const pullRequest = (image: string, username = 'alice', password = 'c4nary-secret'): Buffer =>
  frame(
    cri.PullImageRequest.encode(
      cri.PullImageRequest.fromPartial({
        image: { image },
        auth: { username, password },
        sandboxConfig: { metadata: { namespace: 'team-a' } },
      }),
    ).finish(),
  );
const pullResponse = frame(cri.PullImageResponse.encode({ imageRef: 'sha256:abcd' }).finish());

async function user(credentials: CriCredentials): Promise<string | undefined> {
  const found = await credentials.resolve({ host: 'registry.example.com', reference: parseReference(APP), namespaces: [] });
  const first = found.kind === 'candidates' ? found.candidates[0]?.credential : undefined;
  return first?.kind === 'basic' ? first.username : undefined;
}

const echo = ({ stream }: UpstreamCall): void => void bodyOf(stream).then((body) => answer(stream, body));

describe('image service proxy', () => {
  it('passes every method of both versions as bytes, and none of another service', async (t) => {
    const { server, upstream } = await startProxied(t, echo);
    const session = openSession(t, server);
    const body = frame(Buffer.from([1, 2, 3, 255]));
    for (const path of [
      '/runtime.v1.ImageService/ListImages',
      '/runtime.v1alpha2.ImageService/PullImage',
      '/runtime.v1.ImageService/FromTheFuture',
    ]) {
      const { status, body: got } = await call(session, path, body);
      assert.equal(status, '0');
      assert.deepEqual(got, body);
      assert.equal(upstream.calls.at(-1)?.headers[':path'], path);
    }
    for (const path of ['/runtime.v1.RuntimeService/Version', '/runtime.v1.ImageServiceX/List', '/x.runtime.v1.ImageService/List'])
      assert.equal((await call(session, path, body)).status, '12');
    assert.equal(upstream.calls.length, 3);
  });

  it('passes metadata, trailers and status details both ways, several of one name too', async (t) => {
    const { server, upstream } = await startProxied(t, ({ stream }) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'x-answer': ['1', '2'] }, { waitForTrailers: true });
      stream.once('wantTrailers', () =>
        stream.sendTrailers({
          'grpc-status': '9',
          'grpc-message': '100%25 no',
          'grpc-status-details-bin': 'CAkSAm5v',
          'x-trailer': ['3', '4'],
        }),
      );
      stream.end();
    });
    const got = await call(openSession(t, server), '/runtime.v1.ImageService/X', frame(Buffer.alloc(0)), {
      'grpc-timeout': '5S',
      'user-agent': 'kubelet',
      traceparent: '00-1-2-3',
      'x-some-bin': 'AAE=',
      'x-twice': ['a', 'b'],
    });
    const seen = upstream.calls[0]!;
    assert.equal(seen.headers['grpc-timeout'], '5S');
    assert.equal(seen.headers['user-agent'], 'kubelet');
    assert.equal(seen.headers.te, 'trailers');
    assert.equal(seen.headers['x-some-bin'], 'AAE=');
    assert.deepEqual(valuesOf(seen.rawHeaders, 'x-twice'), ['a', 'b']);
    assert.deepEqual(valuesOf(got.rawHeaders, 'x-answer'), ['1', '2']);
    assert.deepEqual(valuesOf(got.rawTrailers, 'x-trailer'), ['3', '4']);
    assert.equal(got.trailers['grpc-message'], '100%25 no');
    assert.equal(got.trailers['grpc-status-details-bin'], 'CAkSAm5v');
  });

  it('cancels what its caller cancels, and what ran past its deadline', async (t) => {
    const { server, upstream } = await startProxied(t, () => undefined);
    const session = openSession(t, server);
    const stream = session.request({ ':method': 'POST', ':path': PULL, 'content-type': 'application/grpc', te: 'trailers' });
    stream.end(pullRequest(APP));
    await until(() => upstream.calls.length > 0);
    stream.close(constants.NGHTTP2_CANCEL);
    await once(upstream.calls[0]!.stream, 'close');
    assert.equal(upstream.calls[0]!.stream.rstCode, constants.NGHTTP2_CANCEL);

    // A caller that forgets its own deadline.
    const { status } = await call(session, PULL, pullRequest(APP), { 'grpc-timeout': '10m' });
    assert.equal(status, '4');
    if (!upstream.calls[1]!.stream.closed) await once(upstream.calls[1]!.stream, 'close');
  });

  it('keeps a client library to its deadline', async (t) => {
    const { server, upstream } = await startProxied(t, () => undefined);
    const client = new cri.ImageServiceClient(server.address.replace('unix://', 'unix:'), grpcCredentials.createInsecure());
    t.after(() => client.close());
    const error = await new Promise<ServiceError | null>((resolve) =>
      client.listImages(cri.ListImagesRequest.fromPartial({}), new Metadata(), { deadline: Date.now() + 200 }, resolve),
    );
    assert.equal(error?.code, 4);
    const { stream } = upstream.calls[0]!;
    if (!stream.closed) await once(stream, 'close', { signal });
  });

  it('streams no faster than its caller reads', async (t) => {
    const message = frame(Buffer.alloc(1 << 20, 7));
    const total = 48;
    let sent = 0;
    const { server } = await startProxied(t, ({ stream }) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      const more = (): void => {
        if (sent === total) {
          stream.end();
          return;
        }
        sent++;
        stream.write(message, more);
      };
      more();
    });
    const stream = openSession(t, server).request({
      ':method': 'POST',
      ':path': '/runtime.v1.ImageService/Stream',
      te: 'trailers',
      'content-type': 'application/grpc',
    });
    stream.end(frame(Buffer.alloc(0)));
    await once(stream, 'response');
    let before = -1;
    while (before !== sent) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.ok(sent < 10, `${sent} MiB were sent to a caller that reads nothing`);
    let received = 0;
    for await (const chunk of stream) received += (chunk as Buffer).length;
    assert.equal(received, total * message.length);
  });

  it('takes messages up to 16 MiB in either direction and none above', async (t) => {
    const { server, upstream } = await startProxied(t, echo);
    const session = openSession(t, server);
    const largest = frame(Buffer.alloc(16 << 20));
    assert.equal((await call(session, '/runtime.v1.ImageService/X', largest)).body.length, largest.length);
    const tooLarge = frame(Buffer.alloc((16 << 20) + 1));
    assert.equal((await call(session, '/runtime.v1.ImageService/X', tooLarge)).status, '8');
    upstream.handle = ({ stream }) => answer(stream, tooLarge);
    assert.equal((await call(session, '/runtime.v1.ImageService/X', frame(Buffer.alloc(0)))).status, '8');
  });

  it('says UNAVAILABLE at once while containerd is away, and goes on by itself', async (t) => {
    const { server, upstream, logs } = await startProxied(t, echo);
    const session = openSession(t, server);
    const ask = () => call(session, '/runtime.v1.ImageService/X', frame(Buffer.alloc(0)));
    assert.equal((await ask()).status, '0');
    await upstream.stop();
    for (let round = 0; round < 3; round++) {
      const startedMs = performance.now();
      const { status, headers } = await ask();
      assert.equal(status, '14');
      if (round > 0) assert.match(decodeURI(String(headers['grpc-message'])), /not initialized: .*(?:ENOENT|ECONNREFUSED)/);
      assert.ok(performance.now() - startedMs < 1_000);
    }
    await upstream.start();
    assert.equal((await ask()).status, '0');

    upstream.handle = () => void upstream.stop();
    assert.equal((await ask()).status, '14', 'containerd died during the call');
    assert.equal(logs.lines.filter((line) => line.includes('cannot be reached')).length, 1);
    assert.equal(logs.lines.filter((line) => line.includes('can be reached again')).length, 1);
  });

  it("speaks to nobody whose socket is not the right user's", {
    skip: process.getuid?.() !== 0 && 'needs root to give a file away',
  }, async (t) => {
    const { server, upstream } = await startProxied(t, echo);
    await chown(upstream.path, 65534, 65534);
    const { status, headers } = await call(openSession(t, server), PULL, pullRequest(APP));
    assert.equal(status, '14');
    assert.match(decodeURI(String(headers['grpc-message'])), /belongs to user 65534/);
    assert.equal(upstream.calls.length, 0);
  });

  const resets = [
    [constants.NGHTTP2_REFUSED_STREAM, '14'],
    [constants.NGHTTP2_CANCEL, '1'],
    [constants.NGHTTP2_ENHANCE_YOUR_CALM, '8'],
    [constants.NGHTTP2_INTERNAL_ERROR, '13'],
  ] as const;
  for (const [code, want] of resets) {
    it(`makes status ${want} of a reset with code ${code}, before and after headers`, async (t) => {
      const { server, upstream } = await startProxied(t, ({ stream }) => stream.close(code));
      const session = openSession(t, server);
      assert.equal((await call(session, '/runtime.v1.ImageService/X', frame(Buffer.alloc(0)))).status, want);
      upstream.handle = ({ stream }) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.write(frame(Buffer.from('x')), () => stream.close(code));
      };
      assert.equal((await call(session, '/runtime.v1.ImageService/X', frame(Buffer.alloc(0)))).status, want);
    });
  }
});

describe('credentials of pulls', () => {
  it('are there when containerd gets the request, and stay when it says yes', async (t) => {
    const seen: (string | undefined)[] = [];
    const { server, credentials, metrics, logs } = await startProxied(t, ({ stream }) => {
      void bodyOf(stream).then(async () => {
        seen.push(await user(credentials));
        answer(stream, pullResponse);
      });
    });
    assert.equal((await call(openSession(t, server), PULL, pullRequest(APP))).status, '0');
    assert.deepEqual(seen, ['alice']);
    assert.equal(await user(credentials), 'alice');
    assert.deepEqual(credentials.namespacesOf(parseReference(APP)), ['team-a']);
    assert.match(await metrics.metrics(), /^soci_cri_proxy_calls_total\{method="PullImage",code="0"\} 1$/m);
    const line = logs.lines.find((text) => text.includes('image was pulled'));
    assert.ok(line?.includes('"credential":"basic"') && line.includes('"namespace":"team-a"') && line.includes(APP), line);
    assert.ok(!logs.lines.join('\n').includes('c4nary-secret'));
    credentials.imageRemoved('sha256:abcd');
    assert.equal(credentials.size, 0);
  });

  it('go when the pull failed, was cancelled, or the connection broke', async (t) => {
    const { server, upstream, credentials } = await startProxied(t, ({ stream }) => refuse(stream, 2, 'denied c4nary'));
    const session = openSession(t, server);
    const got = await call(session, PULL, pullRequest(APP));
    assert.equal(got.status, '2');
    assert.equal(got.headers['grpc-message'], 'denied c4nary');
    assert.equal(credentials.size, 0);

    upstream.handle = () => undefined;
    const stream = session.request({ ':method': 'POST', ':path': PULL, 'content-type': 'application/grpc', te: 'trailers' });
    stream.end(pullRequest(APP));
    await until(() => credentials.size === 1);
    stream.close(constants.NGHTTP2_CANCEL);
    await until(() => credentials.size === 0);

    upstream.handle = () => void upstream.stop();
    assert.equal((await call(session, PULL, pullRequest(APP))).status, '14');
    assert.equal(credentials.size, 0);
  });

  it('are read from a request that is cut into bytes, and from a compressed one', async (t) => {
    const { server, credentials } = await startProxied(t, ({ stream }) => void bodyOf(stream).then(() => answer(stream, pullResponse)));
    const session = openSession(t, server);
    const stream = session.request({ ':method': 'POST', ':path': PULL, 'content-type': 'application/grpc', te: 'trailers' });
    for (const byte of pullRequest(APP)) stream.write(Buffer.from([byte]));
    stream.end();
    stream.resume();
    await once(stream, 'close');
    assert.equal(await user(credentials), 'alice');

    const compressed = frame(gzipSync(pullRequest(APP, 'bob').subarray(5)), true);
    await call(session, PULL, compressed, { 'grpc-encoding': 'gzip' });
    assert.equal(await user(credentials), 'bob');
  });

  it('do not stop a request that cannot be understood', async (t) => {
    const { server, upstream, credentials } = await startProxied(t, ({ stream }) => refuse(stream, 3));
    const session = openSession(t, server);
    const bodies = [
      frame(Buffer.from([0xff, 0xff, 0xff])),
      frame(Buffer.alloc(2 << 20)),
      Buffer.alloc(0),
      frame(Buffer.from('xx'), true),
      pullRequest('Bad/Name'),
    ];
    for (const body of bodies) assert.equal((await call(session, PULL, body)).status, '3');
    assert.equal(upstream.calls.length, bodies.length);
    assert.equal(credentials.size, 0);
  });

  it('go with the image, once containerd has removed it', async (t) => {
    const { server, upstream, credentials } = await startProxied(
      t,
      ({ stream }) => void bodyOf(stream).then(() => answer(stream, pullResponse)),
    );
    const session = openSession(t, server);
    const remove = (image: string) =>
      call(
        session,
        '/runtime.v1.ImageService/RemoveImage',
        frame(cri.RemoveImageRequest.encode(cri.RemoveImageRequest.fromPartial({ image: { image } })).finish()),
      );
    await call(session, PULL, pullRequest(APP));
    upstream.handle = ({ stream }) => refuse(stream, 2);
    await remove(APP);
    assert.equal(credentials.size, 1);
    upstream.handle = ({ stream }) => void bodyOf(stream).then(() => answer(stream, frame(Buffer.alloc(0))));
    await remove('sha256:abcd');
    assert.equal(credentials.size, 0);
  });
});

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise(setImmediate);
}

function valuesOf(rawHeaders: readonly string[], name: string): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1] === name);
}
