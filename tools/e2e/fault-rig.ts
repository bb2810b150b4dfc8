import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { RegistryImageFetcher, type ResolvedImage } from '@soci/fetcher';
import { parseIndex, parseReference, type Descriptor } from '@soci/image';
import { basic, StaticSource } from '@soci/keychain';
import { LayerEngine, LayerPreparer, LayerStore, type ReplySink } from '@soci/layer';
import { collectLogs } from '@soci/log';
import { RegistryClient } from '@soci/registry';
import { FaultProxy, Registry } from '@soci/testing';
import { pushLayout } from '../image/push.ts';
import { convertInProcess } from './convert-in-process.ts';
import type { FaultObject, FaultPlace, FaultRow, Outcome } from './fault-outcomes.ts';
import { makeSmallImage } from './small-image.ts';
import { LOGIN } from './stack.ts';

const MEBIBYTE = 1 << 20;
const NAME = 'faults/matrix:1';
const BOTH = { sociV1: true, sociV2: true } as const;

/** As in config.toml, but short: what the tests wait for. */
export const LIMITS = { mountTimeoutMs: 8_000, readTimeoutMs: 3_000, failureMemoryMs: 1_050 } as const;
const HTTP = {
  dialTimeoutMs: 500,
  responseHeaderTimeoutMs: 250,
  bodyStallTimeoutMs: 400,
  progressBytes: 4_096,
  progressMs: 250,
  requestTimeoutMs: 2_000,
  maxRetries: 2,
  minWaitMs: 10,
  maxWaitMs: 300,
} as const;
const STALL_MS = 1_000;

/** A registry with one image that has an index, and a storage that refuses every address. */
export class FaultSite implements AsyncDisposable {
  readonly place: FaultPlace;
  readonly registry: Registry;
  readonly manifestDigest: string;
  readonly indexDigest: string;
  /** The layer of noise. */
  readonly layer: Descriptor;
  readonly ztoc: Descriptor;
  readonly ztocBytes: Buffer;
  readonly tar: Buffer;
  readonly #resources: AsyncDisposableStack;

  private constructor(parts: Omit<FaultSite, typeof Symbol.asyncDispose>, resources: AsyncDisposableStack) {
    this.place = parts.place;
    this.registry = parts.registry;
    this.manifestDigest = parts.manifestDigest;
    this.indexDigest = parts.indexDigest;
    this.layer = parts.layer;
    this.ztoc = parts.ztoc;
    this.ztocBytes = parts.ztocBytes;
    this.tar = parts.tar;
    this.#resources = resources;
  }

  static async start(): Promise<FaultSite> {
    await using resources = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'soci-faults-'));
    resources.defer(() => rm(directory, { recursive: true, force: true }));
    const plain = await makeSmallImage(directory, [[{ path: 'data/noise', sizeBytes: 9 * MEBIBYTE }]]);
    const layout = await convertInProcess(plain, join(directory, 'converted'));
    const registry = resources.use(await Registry.start({ directory: join(directory, 'registry'), login: LOGIN }));
    const storage = resources.use(await FaultProxy.start(registry.host));
    storage.fault = () => ({ kind: 'status', status: 403 });
    await pushLayout(layout, parseReference(`${registry.host}/${NAME}`), LOGIN);
    const manifestDigest = await manifestOf(layout);
    const { image, fetcher, dispose } = await resolve(registry.host, manifestDigest);
    await using stop = new AsyncDisposableStack();
    stop.defer(dispose);
    const layer = image.manifest.layers.at(-1);
    const ztoc = image.index.ztocs.get(layer?.digest ?? '')?.descriptor;
    if (layer === undefined || ztoc === undefined) throw new Error('the image has no layer with a zTOC');
    const request = { reference: `${registry.host}/${NAME}`, namespaces: [], descriptor: ztoc };
    const ztocBytes = Buffer.from(await fetcher.readArtifact(request, AbortSignal.timeout(10_000)));
    const tar = gunzipSync(await readFile(join(layout, 'blobs', 'sha256', layer.digest.slice('sha256:'.length))));
    const parts = { manifestDigest, indexDigest: image.indexDescriptor.digest, layer, ztoc, ztocBytes, tar };
    return new FaultSite({ ...parts, registry, place: { refusingStorage: storage.host } }, resources.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

async function resolve(
  host: string,
  manifestDigest: string,
): Promise<{ readonly image: ResolvedImage; readonly fetcher: RegistryImageFetcher; readonly dispose: () => Promise<void> }> {
  const { client, fetcher } = connect(host);
  const request = { reference: `${host}/${NAME}`, namespaces: [], manifestDigest, pullModes: BOTH };
  const image = await fetcher.resolveImage(request, AbortSignal.timeout(10_000));
  return { image, fetcher, dispose: () => client[Symbol.asyncDispose]() };
}

function connect(host: string): {
  readonly client: RegistryClient;
  readonly fetcher: RegistryImageFetcher;
  readonly lines: readonly string[];
} {
  const { log, lines } = collectLogs();
  const credentials = new StaticSource({ name: 'test', credential: basic(LOGIN.username, LOGIN.password), host });
  const client = new RegistryClient({ credentials, log, http: HTTP });
  return { client, fetcher: new RegistryImageFetcher({ registry: client, log }), lines };
}

async function manifestOf(layout: string): Promise<string> {
  let { digest, mediaType } = parseIndex(await readFile(join(layout, 'index.json'))).manifests[0] ?? { digest: '', mediaType: '' };
  while (mediaType.includes('index')) {
    const bytes = await readFile(join(layout, 'blobs', 'sha256', digest.slice('sha256:'.length)));
    [{ digest, mediaType } = { digest: '', mediaType: '' }] = parseIndex(bytes).manifests;
  }
  return digest;
}

export interface Trial {
  readonly outcome: Outcome;
  readonly elapsedMs: number;
  /** Of the proxy, for what was hit. */
  readonly requests: number;
  /** The same attempt once the fault is over. */
  readonly afterwards: Outcome;
  readonly lines: readonly string[];
}

/** Meets one fault at one object, by parts of the service that are put together as the service does. */
export async function tryFault(site: FaultSite, object: FaultObject, { fault }: FaultRow, isLasting: boolean): Promise<Trial> {
  await using resources = new AsyncDisposableStack();
  const proxy = resources.use(await FaultProxy.start(site.registry.host));
  const { client, fetcher, lines } = connect(proxy.host);
  resources.use(client);
  const reference = `${proxy.host}/${NAME}`;
  const attempt = await ATTEMPTS[object](site, { reference, fetcher, resources });
  const { manifestDigest } = site;
  await fetcher.resolveImage({ reference, namespaces: [], manifestDigest, pullModes: BOTH }, AbortSignal.timeout(10_000)); // logs in
  const path = pathOf(site, object);
  let requests = 0;
  let isOver = false;
  proxy.fault = (request) => {
    if (!request.path.includes(path) || !request.authorized) return { kind: 'pass' };
    requests++;
    return !isOver && (isLasting || requests === 1) ? fault(site.place) : { kind: 'pass' };
  };
  const begin = performance.now();
  const outcome = await attempt();
  const elapsedMs = performance.now() - begin;
  isOver = true;
  const hit = requests;
  if (outcome === 'EIO') await new Promise((settled) => setTimeout(settled, LIMITS.failureMemoryMs));
  return { outcome, elapsedMs, requests: hit, afterwards: await attempt(), lines };
}

function pathOf(site: FaultSite, object: FaultObject): string {
  if (object === 'index') return `/manifests/${site.indexDigest}`;
  return `/blobs/${object === 'zTOC' ? site.ztoc.digest : site.layer.digest}`;
}

interface Client {
  readonly reference: string;
  readonly fetcher: RegistryImageFetcher;
  readonly resources: AsyncDisposableStack;
}

/** What needs the object, ready to be done any number of times. */
const ATTEMPTS: Readonly<Record<FaultObject, (site: FaultSite, client: Client) => Promise<() => Promise<Outcome>>>> = {
  index: ({ manifestDigest, indexDigest }, { reference, fetcher }) =>
    prepares(async (signal) => {
      const image = await fetcher.resolveImage({ reference, namespaces: [], manifestDigest, pullModes: BOTH }, signal);
      return image.indexDescriptor.digest === indexDigest;
    }),
  zTOC: ({ ztoc, ztocBytes }, { reference, fetcher }) =>
    prepares(async (signal) => ztocBytes.equals(await fetcher.readArtifact({ reference, namespaces: [], descriptor: ztoc }, signal))),
  'whole layer': async (site, { reference, fetcher, resources }) => {
    const { store, preparer } = await layers(resources);
    const image = { reference, repository: NAME, namespaces: [] };
    const { digest: layerDigest, size: sizeBytes } = site.layer;
    return await prepares(async (signal) => {
      const names = await preparer.prepareWhole({ layerDigest, sizeBytes, lowers: [], image, source: fetcher }, signal);
      const data = await readFile(store.paths(names.layerKey).data);
      return data.subarray(0, site.tar.length).equals(site.tar);
    });
  },
  span: async (site, { reference, fetcher, resources }) => {
    const { store, preparer, log } = await layers(resources);
    const ztoc = { digest: site.ztoc.digest, fetch: () => Promise.resolve(Uint8Array.from(site.ztocBytes)) };
    const request = { layerDigest: site.layer.digest, ztoc, lowers: [] };
    const names = await preparer.prepare(request, AbortSignal.timeout(10_000));
    const layer = await store.openLayer(names.layerKey);
    const answers = new Answers();
    const { readTimeoutMs } = LIMITS;
    const engine = resources.use(new LayerEngine({ source: fetcher, replies: answers, log, readTimeoutMs, stallMs: STALL_MS }));
    engine.attach(1, layer, () => [{ reference, repository: NAME, namespaces: [] }]);
    const offsetBytes = 5 * MEBIBYTE;
    const sizeBytes = 4_096;
    return async () => {
      const data = await answers.of((unique) => engine.onMiss({ slot: 1, uniqueLow: unique, uniqueHigh: 0, offsetBytes, sizeBytes }));
      if (data === undefined) return 'EIO';
      if (!data.equals(site.tar.subarray(offsetBytes, offsetBytes + sizeBytes))) throw new Error('the read got wrong bytes');
      return 'right bytes';
    };
  },
};

/** Ends as the service ends it: with the time that an image may take. */
function prepares(work: (signal: AbortSignal) => Promise<boolean>): Promise<() => Promise<Outcome>> {
  return Promise.resolve(async () => {
    let isRight: boolean;
    try {
      isRight = await work(AbortSignal.timeout(LIMITS.mountTimeoutMs));
    } catch {
      return 'plain pull'; // whatever it was: containerd is told that the layer is its own to fetch
    }
    if (!isRight) throw new Error('what was fetched is not what was pushed');
    return 'right bytes';
  });
}

async function layers(
  resources: AsyncDisposableStack,
): Promise<{ readonly store: LayerStore; readonly preparer: LayerPreparer; readonly log: ReturnType<typeof collectLogs>['log'] }> {
  const root = await mkdtemp(join(tmpdir(), 'soci-faults-'));
  resources.defer(() => rm(root, { recursive: true, force: true }));
  const { log } = collectLogs();
  const store = resources.use(await LayerStore.open({ root, log }));
  return { store, preparer: resources.use(new LayerPreparer({ store, log })), log };
}

/** Where reads are answered to: the bytes, or undefined for EIO. */
class Answers implements ReplySink {
  readonly #waiting = new Map<number, (data: Buffer | undefined) => void>();
  #unique = 0;

  of(ask: (unique: number) => void): Promise<Buffer | undefined> {
    const unique = ++this.#unique;
    return new Promise((resolve) => {
      this.#waiting.set(unique, resolve);
      ask(unique);
    });
  }

  reply(unique: number, _: number, data: Uint8Array): void {
    this.#waiting.get(unique)?.(Buffer.from(data));
  }

  replyError(unique: number): void {
    this.#waiting.get(unique)?.(undefined);
  }
}
