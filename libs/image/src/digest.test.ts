import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isDigest, parseDigest, sha256Digest } from './digest.ts';
import { ImageError } from './errors.ts';

const HEX = '0123456789abcdef'.repeat(4);

describe('digests', () => {
  it('are taken only whole, in lower case and of a known algorithm', () => {
    assert.ok(isDigest(`sha256:${HEX}`));
    assert.ok(isDigest(`sha512:${HEX}${HEX}`));
    for (const text of [
      '',
      ':',
      HEX,
      `sha256:${HEX.toUpperCase()}`,
      `sha256:${HEX}0`,
      `sha256:${HEX.slice(1)}/`,
      `md5:${HEX}`,
      `__proto__:${HEX}`,
    ]) {
      assert.ok(!isDigest(text), text);
    }
  });

  it('are split', () => {
    assert.deepEqual(parseDigest(`sha256:${HEX}`), { algorithm: 'sha256', hex: HEX });
  });

  const bad = [
    { text: 'sha256:00', message: /^invalid checksum digest length/ },
    { text: `sha256:${HEX.toUpperCase()}`, message: /^invalid checksum digest format/ },
    { text: 'sha256:', message: /^invalid checksum digest format/ },
    { text: 'nothing', message: /^invalid checksum digest format/ },
    { text: 'blake3:abcd', message: /^unsupported digest algorithm/ },
    { text: 'sha256:../../../etc/passwd', message: /^invalid checksum digest length/ },
  ];
  for (const { text, message } of bad) {
    it(`say what is wrong with ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => parseDigest(text),
        (error) => error instanceof ImageError && error.code === 'DIGEST_INVALID' && message.test(error.message),
      );
    });
  }

  it('are made of bytes', () => {
    assert.equal(sha256Digest(Buffer.from('{}')), 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');
  });
});
