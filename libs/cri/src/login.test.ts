import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { cri } from '@soci/proto';
import { readPullRequest, readPullResponse, readRemoveRequest } from './image-messages.ts';
import { toLogin } from './login.ts';
import { MAX_MESSAGE_BYTES, MessageTap } from './message-tap.ts';
import { hostOfServerAddress } from './server-address.ts';

const b64 = (text: string): string => Buffer.from(text).toString('base64');

describe('hostOfServerAddress', () => {
  const cases: readonly [string, string | undefined][] = [
    ['https://registry.example.com', 'registry.example.com'],
    ['https://Registry.example.com:5000/v1/', 'registry.example.com:5000'],
    ['//registry.example.com/x', 'registry.example.com'],
    ['https://user:pw@registry.example.com/', 'registry.example.com'],
    ['https://[::1]:5000', '[::1]:5000'],
    ['registry.example.com', ''],
    ['registry.example.com:5000', ''],
    ['registry.example.com/a:b', ''],
    ['/path', ''],
    ['https:///path', ''],
    ['127.0.0.1:5000', undefined],
    [':5000', undefined],
    ['https://a b', undefined],
    ['https://a:port', undefined],
    ['https://a\n', undefined],
  ];
  for (const [address, host] of cases) it(JSON.stringify(address), () => assert.equal(hostOfServerAddress(address), host));
});

describe('reading requests', () => {
  const request = cri.PullImageRequest.fromPartial({
    image: { image: 'registry.example.com/app:1', annotations: { a: 'b' }, runtimeHandler: 'runc' },
    auth: { username: 'u', password: 'pässword', auth: b64('x:y'), serverAddress: 's', identityToken: 'i', registryToken: 'r' },
    sandboxConfig: {
      metadata: { name: 'pod', uid: '1', namespace: 'team-a', attempt: 3 },
      labels: { l: 'm' },
      linux: { cgroupParent: '/x' },
    },
  });

  it('finds what it needs among the rest', () => {
    const { image, auth, namespace } = readPullRequest(cri.PullImageRequest.encode(request).finish());
    assert.equal(image, 'registry.example.com/app:1');
    assert.equal(namespace, 'team-a');
    assert.deepEqual(
      { ...auth, password: Buffer.from(auth!.password).toString(), auth: Buffer.from(auth!.auth).toString() },
      { ...request.auth, auth: b64('x:y'), identityToken: auth!.identityToken, registryToken: auth!.registryToken },
    );
    assert.deepEqual(readPullRequest(new Uint8Array()), { image: '', auth: undefined, namespace: '' });
    assert.equal(readRemoveRequest(cri.RemoveImageRequest.encode({ image: request.image }).finish()), 'registry.example.com/app:1');
    assert.equal(readPullResponse(cri.PullImageResponse.encode({ imageRef: 'sha256:1' }).finish()), 'sha256:1');
  });

  it('refuses what is cut anywhere, or has fields too long', () => {
    const bytes = cri.PullImageRequest.encode(request).finish();
    for (let end = 1; end < bytes.length; end++) {
      try {
        readPullRequest(bytes.subarray(0, end));
      } catch (error) {
        assert.equal((error as { code?: unknown }).code, 'INVALID');
      }
    }
    const long = 'x'.repeat(5_000);
    for (const part of [
      { image: { image: long } },
      { sandboxConfig: { metadata: { namespace: long } } },
      { auth: { serverAddress: long } },
    ])
      assert.throws(() => readPullRequest(cri.PullImageRequest.encode(cri.PullImageRequest.fromPartial(part)).finish()), {
        code: 'INVALID',
      });
  });

  it('takes no secret longer than any registry gives out', () => {
    const part = cri.PullImageRequest.fromPartial({ auth: { username: 'u', password: 'p'.repeat((16 << 10) + 1) } });
    assert.equal(toLogin(readPullRequest(cri.PullImageRequest.encode(part).finish()).auth).kind, 'broken');
  });
});

describe('MessageTap', () => {
  const frame = (message: Buffer): Buffer => {
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    return Buffer.concat([prefix, message]);
  };

  it('shows the first message once it is whole, however it is cut', () => {
    const bytes = Buffer.concat([frame(Buffer.from('first')), frame(Buffer.alloc(0)), frame(Buffer.from('second'))]);
    for (let size = 1; size <= bytes.length; size++) {
      const seen: string[] = [];
      const tap = new MessageTap({ onFirst: (message) => void seen.push(Buffer.from(message).toString()), encoding: undefined });
      for (let at = 0; at < bytes.length; at += size) tap.write(bytes.subarray(at, at + size));
      assert.deepEqual(seen, ['first']);
    }
  });

  it('refuses a message above the limit by its prefix, and shows every other', () => {
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(MAX_MESSAGE_BYTES + 1, 1);
    assert.throws(() => new MessageTap({ encoding: undefined }).write(prefix), { code: 'TOO_LARGE' });
    const seen: number[] = [];
    for (const encoding of [undefined, 'gzip']) {
      const message = Buffer.alloc(MAX_MESSAGE_BYTES);
      const framed = frame(encoding === undefined ? message : gzipSync(message));
      framed[0] = encoding === undefined ? 0 : 1;
      new MessageTap({ onFirst: ({ length }) => void seen.push(length), encoding }).write(framed);
    }
    assert.deepEqual(seen, [MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES]);
  });
});
