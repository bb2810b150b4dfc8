import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LayerSource } from './layer-source.ts';
import { SourceOrder } from './source-order.ts';

const SOURCES: readonly LayerSource[] = ['a', 'b', 'c'].map((name) => ({ reference: name, repository: `r/${name}`, namespaces: [] }));
const [A, B, C] = SOURCES as readonly [LayerSource, LayerSource, LayerSource];

function withCode(code: string): Error {
  return Object.assign(new Error('no'), { code });
}

function make(): { order: SourceOrder; clock: { ms: number }; names: () => string } {
  const clock = { ms: 1_000 };
  const order = new SourceOrder(() => clock.ms);
  return {
    order,
    clock,
    names: () =>
      order
        .inOrder(SOURCES)
        .map(({ reference }) => reference)
        .join(''),
  };
}

describe('SourceOrder', () => {
  for (const code of ['UNAUTHORIZED', 'DENIED', 'NOT_FOUND']) {
    it(`puts an image behind the others when its registry answered ${code}`, () => {
      const { order, names } = make();
      order.failed(A, withCode(code));
      assert.equal(names(), 'bca');
    });
  }

  it('leaves the order as it is when the registry has trouble, or credentials are not ready', () => {
    const { order, names } = make();
    for (const code of ['UNAVAILABLE', 'UNREACHABLE', 'TIMEOUT', 'CREDENTIALS_NOT_READY']) order.failed(A, withCode(code));
    assert.equal(names(), 'abc');
  });

  it('asks, where all were refused, the one first whose refusal is the oldest', () => {
    const { order, names, clock } = make();
    for (const source of [B, A, C]) {
      clock.ms++;
      order.failed(source, withCode('DENIED'));
    }
    assert.equal(names(), 'bac');
  });

  it('forgets refusals after a minute, and when something changed', () => {
    const { order, names, clock } = make();
    order.failed(A, withCode('DENIED'));
    clock.ms += 59_000;
    order.failed(B, withCode('DENIED'));
    assert.equal(names(), 'cab');
    clock.ms += 2_000;
    assert.equal(names(), 'acb');
    order.reset();
    assert.equal(names(), 'abc');
  });
});
