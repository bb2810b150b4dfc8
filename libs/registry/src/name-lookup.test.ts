import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type LookupCallback, NameLookup } from './name-lookup.ts';

const ADDRESS = { address: '192.0.2.1', family: 4 };

function rig(): { readonly names: NameLookup; readonly asked: readonly string[]; readonly answer: (hostname: string) => void } {
  const asked: string[] = [];
  const open = new Map<string, LookupCallback>();
  const names = new NameLookup((hostname, _, callback) => {
    asked.push(hostname);
    open.set(hostname, callback);
  });
  const answer = (hostname: string): void => {
    const callback = open.get(hostname);
    open.delete(hostname);
    callback?.(null, [ADDRESS]);
  };
  return { names, asked, answer };
}

describe('NameLookup', () => {
  it('asks once about a name that many want', () => {
    const { names, asked, answer } = rig();
    const got: unknown[] = [];
    for (let i = 0; i < 10; i++) names.lookup('a.example', {}, (_, addresses) => got.push(addresses));
    assert.deepEqual(asked, ['a.example']);
    answer('a.example');
    assert.deepEqual(got, Array(10).fill([ADDRESS]));
    names.lookup('a.example', {}, () => undefined);
    assert.equal(asked.length, 2, 'nothing is kept');
  });

  it('asks two questions at a time: a silent name server takes no more threads', () => {
    const { names, asked, answer } = rig();
    for (const name of ['a', 'b', 'c', 'd']) names.lookup(`${name}.example`, {}, () => undefined);
    assert.deepEqual(asked, ['a.example', 'b.example']);
    answer('b.example');
    assert.deepEqual(asked, ['a.example', 'b.example', 'c.example']);
  });

  it('refuses questions that would wait behind too many', async () => {
    const { names } = rig();
    for (let i = 0; i < 258; i++) names.lookup(`${i}.example`, {}, () => undefined);
    const error = await new Promise((resolve) => names.lookup('last.example', {}, resolve));
    assert.equal((error as NodeJS.ErrnoException).code, 'EAI_AGAIN');
  });
});
