import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BlobSourceChange } from '@soci/layer';
import { collectLogs } from '@soci/log';
import { PullNamespaces } from './pull-namespaces.ts';

const IMAGES = [
  { reference: 'a.example/x:1', repository: 'a.example/x' },
  { reference: 'b.example/y:1', repository: 'b.example/y' },
];

function make(find: (references: readonly string[]) => Promise<readonly (readonly string[])[]>, images = IMAGES) {
  let tell: (change: BlobSourceChange) => void = () => undefined;
  const noted: [string, readonly string[]][] = [];
  const { log, lines } = collectLogs();
  const onChange = (listener: typeof tell): Disposable => {
    tell = listener;
    return new DisposableStack();
  };
  const store = { images: () => images, addNamespaces: (...what: [string, readonly string[]]) => void noted.push(what) };
  const subject = new PullNamespaces({ source: { onChange, findNamespaces: find }, store, log });
  const settled = async (change: BlobSourceChange): Promise<void> => {
    tell(change);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { subject, noted, lines, settled };
}

describe('PullNamespaces', () => {
  it('asks at a change about the images of its registries, and notes what is found', async () => {
    const { subject, noted, settled } = make((references) =>
      Promise.resolve(references.map((reference) => (reference.startsWith('a') ? ['team-a'] : []))),
    );
    await settled({});
    assert.deepEqual(noted, [['a.example/x:1', ['team-a']]]);
    await subject[Symbol.asyncDispose]();
    const other = make((references) => Promise.resolve(references.map(() => ['t'])));
    await other.settled({ hosts: ['b.example'] });
    assert.deepEqual(other.noted, [['b.example/y:1', ['t']]]);
    await other.subject[Symbol.asyncDispose]();
  });

  it('asks about a limited number at a time', async () => {
    const sizes: number[] = [];
    const images = Array.from({ length: 1_200 }, (_, i) => ({ reference: `a.example/x:${i}`, repository: 'a.example/x' }));
    const { subject, settled } = make((references) => Promise.resolve((sizes.push(references.length), references.map(() => []))), images);
    await settled({});
    assert.deepEqual(sizes, [500, 500, 200]);
    await subject[Symbol.asyncDispose]();
  });

  it('says so when it cannot be told, and goes on', async () => {
    let isAway = true;
    const { subject, lines, settled } = make((references) =>
      isAway ? Promise.reject(new Error('away')) : Promise.resolve(references.map(() => ['t'])),
    );
    await settled({});
    assert.match(lines.join(), /cannot be told who pulled/);
    isAway = false;
    await settled({});
    await subject[Symbol.asyncDispose]();
  });
});
