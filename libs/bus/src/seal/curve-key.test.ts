import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createCurve, createUser, type KeyPair } from '@nats-io/nkeys';
import { CurveKey } from './curve-key.ts';

/** `getSeed` makes a new text each time. */
function keyOf(pair: KeyPair): CurveKey {
  return new CurveKey(pair.getSeed());
}

describe('CurveKey', () => {
  it('seals what the library opens, and opens what it seals', () => {
    for (let i = 0; i < 20; i++) {
      const [ours, theirs] = [createCurve(), createCurve()];
      const key = keyOf(ours);
      assert.equal(key.publicKey, ours.getPublicKey());
      const message = Buffer.alloc(i * 100, i);
      assert.deepEqual(Buffer.from(theirs.open(key.seal(message, theirs.getPublicKey()), ours.getPublicKey()) ?? []), message);
      assert.deepEqual(Buffer.from(key.open(theirs.seal(message, ours.getPublicKey()), theirs.getPublicKey()) ?? []), message);
    }
  });

  it('never seals twice alike', () => {
    const key = keyOf(createCurve());
    const partner = createCurve().getPublicKey();
    const message = Buffer.from('m');
    assert.notDeepEqual(key.seal(message, partner), key.seal(message, partner));
  });

  it('opens nothing that is cut, altered, of another sender or to another recipient', () => {
    const [a, b, c] = [keyOf(createCurve()), keyOf(createCurve()), keyOf(createCurve())];
    const sealed = a.seal(Buffer.from('message'), b.publicKey);
    for (let length = 0; length < sealed.length; length++) assert.equal(b.open(sealed.subarray(0, length), a.publicKey), undefined);
    for (let at = 0; at < sealed.length; at++) {
      const altered = Buffer.from(sealed);
      altered[at]! ^= 1;
      assert.equal(b.open(altered, a.publicKey), undefined);
    }
    assert.equal(b.open(sealed, c.publicKey), undefined);
    assert.equal(c.open(sealed, a.publicKey), undefined);
  });

  it('takes no keys that are of another kind, or mistyped', () => {
    const key = keyOf(createCurve());
    const right = createCurve().getPublicKey();
    const mistyped = `${right.slice(0, 10)}${right[10] === 'A' ? 'B' : 'A'}${right.slice(11)}`;
    for (const partner of ['', 'X', createUser().getPublicKey(), mistyped])
      assert.throws(() => key.seal(Buffer.from('m'), partner), Error, partner);
    assert.throws(() => new CurveKey(createUser().getSeed()));
    assert.throws(() => new CurveKey(Buffer.from('SXnonsense')));
  });

  it('overwrites the seed it was made from', () => {
    const seed = createCurve().getSeed();
    const key = new CurveKey(seed);
    assert.ok(seed.every((byte) => byte === 0));
    key[Symbol.dispose]();
    assert.throws(() => key.seal(Buffer.from('m'), createCurve().getPublicKey()));
  });
});
