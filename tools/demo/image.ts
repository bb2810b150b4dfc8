import { execFile, spawn } from 'node:child_process';
import { createHash, randomFillSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { hasCode } from '@soci/errors';
import { writeLayer, type LayerSource, type WrittenLayer } from '../image/layers.ts';
import { blobFolder, writeLayout } from '../image/layout.ts';
import type { Progress } from './progress.ts';

const run = promisify(execFile);

/** Debian packages beside the minimal system: an interpreter, a web framework and numeric libraries, as a service would have. */
const PACKAGES = ['python3', 'python3-flask', 'python3-numpy', 'python3-scipy', 'perl'];
/** Folders in which an image is being built. */
const BUILDING = 'building-';
const MODEL_MEBIBYTES = 192;
const MODEL_READ_AT_MEBIBYTES = 100;
const CONFIG = { Env: ['PATH=/usr/bin:/bin', 'PYTHONDONTWRITEBYTECODE=1'], Cmd: ['python3', '/srv/main.py'] };

const PROGRAM = `import flask, hashlib, json
with open('/model/model.bin', 'rb') as f:
    f.seek(${MODEL_READ_AT_MEBIBYTES} << 20)
    head = f.read(1 << 20)
app = flask.Flask(__name__)

@app.get('/norm')
def norm():
    import numpy
    return json.dumps(float(numpy.linalg.norm(numpy.frombuffer(head, dtype='u1'))))

print('ready', hashlib.sha256(head).hexdigest(), flush=True)
`;

/**
 * Builds the demo's image once and keeps it: an OCI layout of six gzip layers, from base system to a service with a large data file of which it reads a little.
 * @returns the folder of the layout, with one entry tagged `latest`
 */
export async function buildDemoImage(cache: string, progress: Progress): Promise<string> {
  const recipe = JSON.stringify([PACKAGES, MODEL_MEBIBYTES, PROGRAM, CONFIG]);
  const name = createHash('sha256').update(recipe).digest('hex').slice(0, 16);
  const layout = join(cache, name);
  if (existsSync(join(layout, 'index.json'))) return layout;
  await mkdir(cache, { recursive: true });
  for (const other of await readdir(cache)) if (!other.startsWith(BUILDING)) await rm(join(cache, other), { recursive: true, force: true });
  const scratch = await mkdtemp(join(cache, BUILDING)); // two processes may build at once: each in a folder of its own, and the first one's result stays
  try {
    const built = join(scratch, 'layout');
    const blobs = await blobFolder(built);
    const rootfs = await bootstrap(join(scratch, 'rootfs'), progress);
    const model = await writeModel(join(scratch, 'model'), progress);
    const service = join(scratch, 'service', 'srv');
    await mkdir(service, { recursive: true });
    await writeFile(join(service, 'main.py'), PROGRAM);
    const layers = await compress(sources(rootfs, model, join(scratch, 'service')), blobs, progress);
    await writeLayout(built, layers, CONFIG);
    await rename(built, layout).catch((error: unknown) => {
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return layout;
}

async function bootstrap(rootfs: string, progress: Progress): Promise<string> {
  const [suite, mirror] = await debianMirror();
  progress.step(`making a Debian ${suite} userland (about a minute, kept for the next time)`);
  const child = spawn('debootstrap', ['--variant=minbase', `--include=${PACKAGES.join(',')}`, suite, rootfs, mirror], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let last = '';
  const show = (chunk: Buffer): void => {
    last = chunk.toString('utf8').trim().split('\n').at(-1) ?? last;
    progress.detail(last);
  };
  child.stdout.on('data', show);
  child.stderr.on('data', show);
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (code !== 0) throw new Error(`debootstrap of ${suite} from this machine's Debian mirror failed: ${last}`);
  await Promise.all(
    ['var/cache/apt/archives', 'var/lib/apt/lists', 'dev'].map((name) => rm(join(rootfs, name), { recursive: true, force: true })),
  );
  return rootfs;
}

/** The suite and mirror that this machine's own apt uses. */
async function debianMirror(): Promise<readonly [suite: string, mirror: string]> {
  const { stdout } = await run('apt-get', ['indextargets', '--format', '$(CODENAME) $(REPO_URI) $(COMPONENT)', 'Created-By: Packages']);
  for (const line of stdout.split('\n')) {
    const [suite, uri, component] = line.split(' ');
    if (component === 'main' && suite !== undefined && uri !== undefined && /^[a-z]+$/.test(suite)) return [suite, uri];
  }
  throw new Error('apt names no Debian mirror: run `apt-get update` and look at /etc/apt/sources.list.d');
}

/** Half noise, half zeros, so that it compresses as data files do. */
async function writeModel(folder: string, progress: Progress): Promise<string> {
  progress.step(`writing a data file of ${MODEL_MEBIBYTES} MiB`);
  await mkdir(join(folder, 'model'), { recursive: true });
  await using file = await open(join(folder, 'model', 'model.bin'), 'w');
  const mebibyte = Buffer.alloc(1 << 20);
  for (let i = 0; i < MODEL_MEBIBYTES; i++) {
    randomFillSync(mebibyte, 0, 1 << 19);
    await file.write(mebibyte);
  }
  return folder;
}

function sources(rootfs: string, model: string, service: string): readonly LayerSource[] {
  const apart = ['./usr/lib/x86_64-linux-gnu', './usr/lib/aarch64-linux-gnu', './usr/lib/python3', './usr/share'].filter((name) =>
    existsSync(join(rootfs, name)),
  );
  return [
    { name: 'base', root: rootfs, members: [...apart.map((name) => `--exclude=${name}`), '.'] },
    ...apart.map((name) => ({ name: name.slice(name.lastIndexOf('/') + 1), root: rootfs, members: [name] })),
    { name: 'model', root: model, members: ['--owner=0', '--group=0', 'model'] },
    { name: 'service', root: service, members: ['--owner=0', '--group=0', 'srv'] },
  ];
}

/** All layers, two at a time. */
async function compress(layers: readonly LayerSource[], blobs: string, progress: Progress): Promise<readonly WrittenLayer[]> {
  progress.step(`compressing ${layers.length} layers`);
  const written = new Array<WrittenLayer>(layers.length);
  const queue = layers.entries();
  let bytes = 0;
  const work = async (): Promise<void> => {
    for (const [index, layer] of queue) {
      written[index] = await writeLayer(layer, blobs, (count) => {
        bytes += count;
        progress.detail(`${layer.name}, ${Math.round(bytes / 1e6)} MB done`);
      });
    }
  };
  await Promise.all([work(), work()]);
  return written;
}
