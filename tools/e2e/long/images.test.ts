import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { Containerd } from '@soci/testing';
import { ROOT, scratchFolder } from '../stack.ts';

const run = promisify(execFile);
const ARCHIVES = join(ROOT, 'tmp', 'images', 'archives');
/** Of the first build on a machine: a Debian system, all packages, the compilers. */
const BUILD_MS = 30 * 60_000;
const STACK_MS = 10 * 60_000;
const NOT_POSSIBLE = 77;
/** What the archive of a service may take, compressed layers of Debian and Node included. */
const MAX_BYTES = 110e6;

/** Target → the first word of what its program says to `--version`. */
const PROGRAMS: Readonly<Record<string, string>> = {
  agent: 'soci-snapshotter-grpc',
  snapshotter: 'soci-snapshotter',
  'registry-fetcher': 'soci-registry-fetcher',
  'cri-proxy': 'soci-cri-proxy',
  'secret-syncer': 'soci-secret-syncer',
  soci: 'soci',
};

describe('the images', async () => {
  const problem = await build();

  describe('built from the Dockerfile', { skip: problem }, () => {
    const resources = new AsyncDisposableStack();
    let containerd: Containerd;
    before(async () => {
      containerd = resources.use(await Containerd.start({ directory: await scratchFolder(resources) }));
      for (const name of await readdir(ARCHIVES))
        await containerd.ctr(['images', 'import', '--snapshotter', 'overlayfs', join(ARCHIVES, name)]);
    });
    after(() => resources.disposeAsync());

    for (const [target, name] of Object.entries(PROGRAMS)) {
      it(`${target} starts its program, on a root that cannot be written to`, async () => {
        const image = `docker.io/soci/${target}:latest`;
        const app = `/opt/soci/apps/${target}/bin/${name}`;
        const said = await containerd.ctr([
          'run',
          '--rm',
          '--read-only',
          '--snapshotter',
          'overlayfs',
          image,
          `version-${target}`,
          app,
          '--version',
        ]);
        assert.match(said, new RegExp(`^${name} version \\d`));
      });

      it(`${target} is small`, async () => {
        assert.ok((await stat(join(ARCHIVES, `${target}.tar`))).size < MAX_BYTES);
      });
    }
  });

  it('run the stack of docker-compose.yml by containerd, each service from its own', { skip: problem }, async () => {
    const args = ['demo', '--small', '--cluster', '--over-bus', '--images', ARCHIVES];
    const { stdout } = await run(join(ROOT, 'tools', 'stack', 'run.sh'), args, { timeout: STACK_MS });
    assert.match(stdout, /\b2 layers mounted lazily/);
  });
});

/** @returns why it cannot be done here; `false` when it was done */
async function build(): Promise<string | false> {
  try {
    await run(join(ROOT, 'deploy', 'image', 'build.sh'), [ARCHIVES], { timeout: BUILD_MS, maxBuffer: 16 << 20 });
    return false;
  } catch (error) {
    const { code, stderr } = error as { code?: number; stderr?: string };
    if (code === NOT_POSSIBLE) return stderr?.trim() ?? 'images cannot be built here';
    throw error;
  }
}
