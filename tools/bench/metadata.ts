import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseReference } from '@soci/image';
import { Registry } from '@soci/testing';
import { buildDemoImage } from '../demo/image.ts';
import { convert, LOGIN, ROOT } from '../e2e/stack.ts';
import { pushLayout } from '../image/push.ts';
import { Access, describeView } from './access.ts';
import { BenchNode, goCompetitor, OURS, OVERLAYFS, type Competitor } from './bench-node.ts';
import type { BenchContext } from './context.ts';
import { fillThroughFuse, fillThroughView } from './fill.ts';
import { makeMetadataImage } from './metadata-image.ts';
import { compareAccess, type Subject } from './probes.ts';

const LARGE_FILE = 'model/model.bin';
const CONFIG = '[background_fetch]\ndisable = true\n';

interface Nodes {
  readonly ours: BenchNode;
  readonly overlayfs: BenchNode;
  readonly others: readonly BenchNode[];
  /** Whether ours is held against the bounds, or only reported. */
  readonly hasBounds: boolean;
}

/** Names and bytes of an image that is all there, through our mounts and through overlayfs on the same disk. */
export async function benchMetadata(context: BenchContext): Promise<void> {
  const { report, progress, peers } = context;
  await using resources = new AsyncDisposableStack();
  const scratch = await folder(context.scratch, 'metadata');
  const access = await Access.compile(scratch);
  progress.step('making an image of five layers');
  const { layout, entries } = await makeMetadataImage(await buildDemoImage(join(ROOT, 'tmp', 'demo'), progress), scratch);
  const converted = await convert(layout, join(scratch, 'converted'), ['--min-layer-size', '0']);
  const registry = resources.use(await Registry.start({ directory: await folder(scratch, 'registry'), login: LOGIN }));
  const reference = `${registry.host}/bench/metadata:latest`;
  await pushLayout(converted, parseReference(reference), LOGIN, progress);

  const start = async (competitor: Competitor): Promise<BenchNode> => {
    progress.step(`pulling it: ${competitor.name}`);
    const options = { directory: await folder(scratch, competitor.name), registryHost: registry.host, peers, config: CONFIG };
    const node = resources.use(await BenchNode.start(competitor, options));
    await node.pull(reference);
    return node;
  };
  const ours = await start(OURS);
  await fill(ours, context);
  const overlayfs = await start(OVERLAYFS);
  const others: BenchNode[] = [];
  for (const competitor of goCompetitor(peers)) {
    const node = await start(competitor);
    const view = await node.view();
    await fillThroughView(view);
    await node.unview(view);
    others.push(node);
  }

  report.heading(`${entries} entries in ${ours.layerSources.length} layers, complete, names and bytes through FUSE, to overlayfs`);
  const { bytes: filled } = await registry.served();
  await compareNodes({ ours, overlayfs, others, hasBounds: true }, access, scratch, context);
  const { bytes: afterwards } = await registry.served();
  report.figure('bytes fetched meanwhile', (afterwards - filled) / 1e6, 'MB', { atMost: 0 });

  progress.step('starting the snapshotter again');
  await ours.restartSnapshotter();
  report.heading('the same, complete layers mounted straight over their files');
  const stillFuse = ours.layerSources.filter((source) => source.startsWith(ours.fuseFolder));
  if (stillFuse.length > 0) report.missing('all figures', `${stillFuse.length} layers are still mounted through FUSE`);
  else await compareNodes({ ours, overlayfs, others: [], hasBounds: false }, access, scratch, context);
}

async function compareNodes(nodes: Nodes, access: Access, scratch: string, { rounds, report, progress }: BenchContext): Promise<void> {
  const mount = async (node: BenchNode): Promise<Subject> => {
    const { name } = node.competitor;
    return { name, view: await describeView(await node.view(), LARGE_FILE, await folder(scratch, `${name}-names`)) };
  };
  const ours = await mount(nodes.ours);
  const overlayfs = await mount(nodes.overlayfs);
  const others: Subject[] = [];
  for (const node of nodes.others) others.push(await mount(node));
  const comparison = { ours, overlayfs, others, hasBounds: nodes.hasBounds };
  await compareAccess(access, comparison, rounds, report, (name) => progress.step(name));
  await nodes.ours.unview(ours.view.root);
  await nodes.overlayfs.unview(overlayfs.view.root);
  for (const [index, { view }] of others.entries()) await nodes.others[index]?.unview(view.root);
}

/** @throws when a layer is not mounted lazily */
async function fill(node: BenchNode, { progress }: BenchContext): Promise<void> {
  progress.step('filling its layers in random order of spans');
  const { fuseFolder, layerSources } = node;
  const plain = layerSources.filter((source) => !source.startsWith(fuseFolder));
  if (layerSources.length === 0 || plain.length > 0)
    throw new Error(`layers that are not mounted through FUSE: ${plain.join(', ') || 'all'}`);
  await fillThroughFuse(fuseFolder, layerSources, (done, of) => progress.detail(`${done} of ${of}`));
}

async function folder(parent: string, name: string): Promise<string> {
  const path = join(parent, name);
  await mkdir(path, { recursive: true });
  return path;
}
