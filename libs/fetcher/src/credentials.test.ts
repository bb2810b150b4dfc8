import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ImageReference } from '@soci/image';
import { encodeSociIndex } from '@soci/index';
import type { BlobSourceChange } from '@soci/layer';
import { collectLogs } from '@soci/log';
import { RegistryClient } from '@soci/registry';
import { toBlobSourceChange } from './credential-change.ts';
import type { ImageFetcher } from './image-fetcher.ts';
import { type CountedPulls, RegistryImageFetcher } from './registry-image-fetcher.ts';
import { ChangingSource } from './testing/changing-source.ts';
import { type FakeRegistry, startRegistry } from './testing/fake-registry.ts';
import { type OverSocket, overSocket } from './testing/over-socket.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const signal = new AbortController().signal;

interface Rig {
  readonly fetcher: ImageFetcher;
  readonly registry: FakeRegistry;
  readonly source: ChangingSource;
  /** Namespaces by reference, whose pull succeeded. */
  readonly pulls: Map<string, readonly string[]>;
  /** Those whose pull of any reference runs. */
  readonly running: string[];
  readonly reference: string;
  readonly socket: OverSocket | undefined;
}

async function rig(t: TestContext, side: 'in process' | 'over a socket'): Promise<Rig> {
  const registry = await startRegistry(t);
  registry.login = 'alice:old';
  const source = new ChangingSource();
  const { log } = collectLogs();
  const client = new RegistryClient({ credentials: source, log, http: { maxRetries: 0 } });
  t.after(() => client[Symbol.asyncDispose]());
  const pulls = new Map<string, readonly string[]>();
  const running: string[] = [];
  const namespacesOf = (reference: ImageReference, counted: CountedPulls): readonly string[] => [
    ...(pulls.get(reference.toString()) ?? []),
    ...(counted === 'succeeded' ? [] : running),
  ];
  const origin = new RegistryImageFetcher({ registry: client, log, credentials: source, namespacesOf });
  t.after(() => origin[Symbol.asyncDispose]());
  const socket = side === 'in process' ? undefined : await overSocket(t, origin);
  return { fetcher: socket?.fetcher ?? origin, registry, source, pulls, running, reference: `${registry.host}/app:1`, socket };
}

/** The changes that are told, and a wait for their number. */
function heard(
  t: TestContext,
  fetcher: ImageFetcher,
): { changes: BlobSourceChange[]; until: (count: number) => Promise<void>; stop: () => void } {
  const changes: BlobSourceChange[] = [];
  const subscription = fetcher.onChange((change) => changes.push(change));
  const stop = (): void => {
    subscription[Symbol.dispose]();
  };
  t.after(stop);
  const until = async (count: number): Promise<void> => {
    const end = performance.now() + 5_000;
    while (changes.length < count) {
      assert.ok(performance.now() < end, `${changes.length} of ${count} changes`);
      await sleep(5);
    }
  };
  return { changes, until, stop };
}

for (const side of ['in process', 'over a socket'] as const) {
  describe(`ImageFetcher and the sources of credentials, ${side}`, () => {
    it('looks up for the namespaces of the request and for those that pull the image now, and says which', async (t) => {
      const { fetcher, registry, source, pulls, reference } = await rig(t, side);
      const ztoc = registry.blob('ztoc');
      const layer = registry.blob('layer bytes');
      const annotations = { 'com.amazon.soci.image-layer-digest': layer.digest };
      const encoded = encodeSociIndex({ version: 'v2', blobs: [{ ...ztoc, annotations }], buildTool: 'test' });
      const index = registry.manifest(JSON.parse(Buffer.from(encoded).toString()) as object, MANIFEST);
      const image = registry.manifest({ schemaVersion: 2, mediaType: MANIFEST, config: registry.blob('{}'), layers: [layer] }, MANIFEST);
      pulls.set(reference, ['team-a']);
      const request = { reference, namespaces: ['noted'] };
      const asked = (): string[] => source.lookups.splice(0).map(({ namespaces }) => namespaces.toSorted().join());

      const pullModes = { sociV1: true, sociV2: true };
      const resolve = { ...request, manifestDigest: image.digest, indexDigest: index.digest, pullModes };
      assert.deepEqual((await fetcher.resolveImage(resolve, signal)).namespaces, ['team-a', 'noted']);
      assert.deepEqual([...new Set(asked())], ['noted,team-a']);

      pulls.set(reference, ['team-a', 'team-b']); // a later pull, as good as one of its own for a registry that knows the client
      await fetcher.readArtifact({ ...request, descriptor: ztoc }, signal);
      const range = { digest: layer.digest, offsetBytes: 0, lengthBytes: 5, priority: 'demand' } as const;
      await Array.fromAsync(fetcher.read({ ...request, ...range }, signal));
      assert.deepEqual([...new Set(asked())], ['noted,team-a,team-b']);

      assert.deepEqual(await fetcher.findNamespaces([`${registry.host}/other:1`, reference], signal), [[], ['team-a', 'team-b']]);
    });

    it('counts a pull that runs for the image that is prepared, and not for one that is here: it may yet fail', async (t) => {
      const { fetcher, source, running, reference } = await rig(t, side);
      running.push('team-c');
      const asked = (): string[] => source.lookups.splice(0).map(({ namespaces }) => namespaces.join());
      const digest = `sha256:${'a'.repeat(64)}`;
      const resolve = { reference, namespaces: [], manifestDigest: digest, pullModes: { sociV1: true, sociV2: true } };
      await assert.rejects(fetcher.resolveImage(resolve, signal), { code: 'NOT_FOUND' });
      assert.deepEqual([...new Set(asked())], ['team-c']);
      const range = { digest, offsetBytes: 0, lengthBytes: 5, priority: 'demand' } as const;
      await assert.rejects(Array.fromAsync(fetcher.read({ reference, namespaces: ['noted'], ...range }, signal)), { code: 'NOT_FOUND' });
      assert.deepEqual([...new Set(asked())], ['noted']);
      assert.deepEqual(await fetcher.findNamespaces([reference], signal), [[]]);
    });

    it('tells of changes where images name the registry', async (t) => {
      const { fetcher, source } = await rig(t, side);
      const { changes, until, stop } = heard(t, fetcher);
      if (side === 'over a socket') await until(1);
      const before = changes.splice(0);
      assert.deepEqual(before, side === 'in process' ? [] : [{}], 'what was before the connection is not known');
      for (const [index, hosts] of [['R.example:5000'], ['registry-1.docker.io'], undefined].entries()) {
        source.tell(hosts);
        await until(index + 1);
      }
      assert.deepEqual(changes, [{ hosts: ['r.example:5000'] }, { hosts: ['docker.io'] }, {}]);
      stop();
      source.tell();
      await sleep(50);
      assert.equal(changes.length, 3);
    });

    it('says of a refused credential and of one that is not ready which it was', async (t) => {
      const { fetcher, source, reference } = await rig(t, side);
      const request = { reference, digest: `sha256:${'a'.repeat(64)}`, offsetBytes: 0, lengthBytes: 1, priority: 'demand' } as const;
      source.login = 'alice:wrong';
      await assert.rejects(Array.fromAsync(fetcher.read(request, signal)), { code: 'UNAUTHORIZED' });
      source.isReady = false;
      await assert.rejects(Array.fromAsync(fetcher.read(request, signal)), { code: 'CREDENTIALS_NOT_READY' });
    });
  });
}

describe('RemoteImageFetcher', () => {
  it('hears of any change once a fetcher is back that was away, and of those after it', async (t) => {
    const { fetcher, source, socket } = await rig(t, 'over a socket');
    const { changes, until } = heard(t, fetcher);
    await until(1);
    await socket?.stop();
    source.tell(['missed.example']);
    await socket?.startAgain();
    await until(2);
    assert.deepEqual(changes[1], {});
    source.tell(['r.example']);
    await until(3);
    assert.deepEqual(changes[2], { hosts: ['r.example'] });
  });

  it('listens once for all, only while somebody wants to know, and never keeps the service from stopping', async (t) => {
    const { fetcher, source, socket } = await rig(t, 'over a socket');
    const own = source.listeners; // the registry client listens, too
    const [first, second] = [heard(t, fetcher), heard(t, fetcher)];
    await Promise.all([first.until(1), second.until(1)]);
    assert.equal(source.listeners, own + 1);
    first.stop();
    source.tell();
    await second.until(2);
    second.stop();
    while (source.listeners > own) await sleep(5);
    const third = heard(t, fetcher);
    await third.until(1);
    const took = (await socket?.stop()) ?? 0;
    assert.ok(took < 1_000, `the service took ${took} ms to stop`);
  });
});

describe('toBlobSourceChange', () => {
  const mirrors = (host: string): readonly string[] | undefined =>
    host === 'odd' ? undefined : host === 'mirror' ? ['a.example', 'docker.io'] : [];

  for (const { name, hosts, want } of [
    { name: 'any stays any', hosts: undefined, want: undefined },
    { name: 'none is taken for any', hosts: [], want: undefined },
    { name: 'a mirror stands for those it mirrors', hosts: ['mirror'], want: ['mirror', 'a.example', 'docker.io'] },
    { name: 'a host of which it cannot be told what it mirrors stands for any', hosts: ['b.example', 'odd'], want: undefined },
    { name: 'Docker Hub has one name', hosts: ['index.docker.io', 'registry-1.docker.io'], want: ['docker.io'] },
  ]) {
    it(name, () => assert.deepEqual(toBlobSourceChange(hosts === undefined ? {} : { hosts }, mirrors).hosts, want));
  }
});
