import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeError, hasCode, isNotFound } from './index.ts';

describe('describeError', () => {
  it('joins the causes', () => {
    const error = new Error('fetch blob', { cause: new Error('connect', { cause: new Error('refused') }) });
    assert.equal(describeError(error), 'fetch blob: connect: refused');
  });

  it('does not say twice what the outer message already holds', () => {
    assert.equal(describeError(new Error('read x: gone', { cause: new Error('gone') })), 'read x: gone');
  });

  it('ends on a cause that points back', () => {
    const error = new Error('a');
    error.cause = error;
    assert.equal(describeError(error), 'a');
  });

  it('shows the members of an aggregate without a message', () => {
    assert.equal(describeError(new AggregateError([new Error('v4'), new Error('v6')])), 'v4; v6');
  });
});

describe('hasCode', () => {
  it('tells errno names apart', () => {
    const error = Object.assign(new Error('x'), { code: 'ENOENT' });
    assert.ok(hasCode(error, 'EACCES', 'ENOENT'));
    assert.ok(isNotFound(error));
    assert.ok(!hasCode(error, 'EACCES'));
    assert.ok(!hasCode('ENOENT', 'ENOENT'));
  });
});
