import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImageReference } from '@soci/image';
import { AskedHosts } from './asked-hosts.ts';
import { ChangingSource } from './testing/changing-source.ts';

const signal = new AbortController().signal;

function make(): { asked: AskedHosts; source: ChangingSource; look: (host: string, imageHost: string) => Promise<unknown> } {
  const asked = new AskedHosts();
  const source = new ChangingSource();
  const watched = asked.watch(source);
  const look = (host: string, imageHost: string): Promise<unknown> =>
    watched.resolve({ host, reference: new ImageReference({ host: imageHost, repository: 'a' }), namespaces: [] }, signal);
  return { asked, source, look };
}

describe('AskedHosts', () => {
  it('knows for images of which registries a mirror was asked', async () => {
    const { asked, source, look } = make();
    for (const imageHost of ['a.example', 'docker.io', 'a.example']) await look('mirror.example', imageHost);
    await look('b.example', 'b.example');
    assert.deepEqual(asked.imageHostsOf('mirror.example'), ['a.example', 'docker.io']);
    assert.deepEqual(asked.imageHostsOf('b.example'), ['b.example']);
    assert.deepEqual(asked.imageHostsOf('never.example'), []);
    assert.equal(source.lookups.length, 4);
  });

  it('cannot tell of a host that stands for very many, nor of one that was forgotten', async () => {
    const { asked, look } = make();
    for (let i = 0; i < 100; i++) await look('mirror.example', `r${i}.example`);
    assert.equal(asked.imageHostsOf('mirror.example'), undefined);
    await look('first.example', 'first.example');
    for (let i = 0; i < 600; i++) await look(`h${i}.example`, `h${i}.example`);
    assert.equal(asked.imageHostsOf('first.example'), undefined);
    assert.deepEqual(asked.imageHostsOf('h599.example'), ['h599.example']);
  });

  it('passes changes and refusals on', () => {
    const source = Object.assign(new ChangingSource(), { refused: (print: string): boolean => print === 'x' });
    const watched = new AskedHosts().watch(source);
    let changes = 0;
    using subscription = watched.onChange?.(() => changes++);
    source.tell();
    assert.deepEqual([changes, watched.refused?.('x'), watched.refused?.('y')], [1, true, false]);
    assert.equal(watched.name, source.name);
    assert.ok(subscription !== undefined);
  });
});
