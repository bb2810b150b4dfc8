import assert from 'node:assert/strict';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { runSoci } from './testing/run-soci.ts';

const UNKNOWN = `sha256:${'0'.repeat(64)}`;

async function makeTempDir(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'soci-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

describe('the command line', () => {
  it('prints its version and its help', async () => {
    assert.match((await runSoci(['--version'])).stdout, /^soci version \S+ \S+\n$/);
    for (const args of [[], ['--help'], ['help']]) {
      const run = await runSoci(args);
      assert.equal(run.exit, 0);
      assert.match(run.stdout, /^Usage: soci /);
    }
    for (const group of ['index', 'ztoc', 'prefetch']) assert.match((await runSoci([group])).stdout, new RegExp(`^Usage: soci ${group} `));
    assert.match((await runSoci(['create', '-h'])).stdout, /--span-size[^]*4194304/);
  });

  it('knows what it does not know', async () => {
    for (const args of [['nosuch'], ['index', 'nosuch'], ['nosuch', 'create']]) {
      const run = await runSoci(args);
      assert.equal(run.exit, 3);
      assert.equal(run.output, "No help topic for 'nosuch'\n");
    }
  });

  const mistakes: readonly { readonly args: readonly string[]; readonly says: string }[] = [
    { args: ['create', '--nope', 'a'], says: 'flag provided but not defined: -nope' },
    { args: ['create', 'a', '--span-size'], says: 'flag needs an argument: --span-size' },
    { args: ['create', '--span-size', '99999999999999999999', 'a'], says: 'invalid value "99999999999999999999" for flag -span-size: ' },
    { args: ['create', '--min-layer-size=1.5', 'a'], says: 'invalid value "1.5" for flag -min-layer-size: ' },
    { args: ['--timeout', '5', 'index', 'list'], says: 'invalid value "5" for flag -timeout: ' },
    { args: ['--content-store', 'x', 'index', 'list'], says: 'unknown content store type: x; must be one of [soci containerd]' },
  ];
  for (const { args, says } of mistakes) {
    it(`says what is wrong with ${args.join(' ')}, with the help of that command`, async () => {
      const run = await runSoci(args);
      assert.equal(run.exit, 1);
      assert.ok(run.stderr.startsWith(`Incorrect Usage: ${says}`), run.stderr);
      assert.ok(run.stderr.trimEnd().split('\n').at(-1)?.startsWith(`soci: ${says}`), run.stderr);
      assert.match(run.stdout, /^Usage: soci /);
    });
  }

  it('takes global flags behind the command, and from the environment', async (t) => {
    const root = join(await makeTempDir(t), 'root');
    const run = await runSoci(['index', 'list', '-q', '--root', root, '--content-store', 'soci'], {
      environment: { CONTAINERD_ADDRESS: '/no/such.sock', CONTAINERD_NAMESPACE: 'x' },
    });
    assert.equal(run.output, '');
    assert.equal(run.exit, 0);
    assert.equal((await stat(root)).mode & 0o777, 0o700);
  });

  it('makes the root directory but none of its parents', async (t) => {
    const root = join(await makeTempDir(t), 'a/b');
    const run = await runSoci(['--root', root, 'index', 'list']);
    assert.equal(run.exit, 1);
    assert.match(run.stderr, new RegExp(`^soci: cannot make the root directory ${root} \\(--root names another\\): ENOENT`));
  });

  it('lists nothing where nothing was built, without containerd', async (t) => {
    const globals = ['--root', join(await makeTempDir(t), 'root'), '--address', '/no/such.sock'];
    const output = async (...args: string[]): Promise<string> => (await runSoci([...globals, ...args])).output.replaceAll(/ +/g, ' ');
    assert.equal(await output('index', 'ls'), 'DIGEST SIZE IMAGE REF PLATFORM MEDIA TYPE MANIFEST VERSION CREATED \n');
    assert.equal(await output('ztoc', 'list'), 'DIGEST SIZE LAYER DIGEST \n');
    assert.equal(await output('prefetch', 'list'), 'DIGEST LAYER DIGEST SPANS CREATED \n');
    assert.equal(await output('prefetch', 'list', '--json'), 'null\n');
    assert.equal(await output('index', 'rm'), '');
  });

  const absent: readonly { readonly args: readonly string[]; readonly says: string }[] = [
    { args: ['index', 'info', UNKNOWN], says: `couldn't retrieve artifact for ${UNKNOWN}, not found` },
    { args: ['index', 'info'], says: 'invalid checksum digest format' },
    { args: ['index', 'rm', UNKNOWN], says: `the index of the digest ${UNKNOWN} doesn't exist` },
    { args: ['index', 'rm', '--ref', 'a', UNKNOWN], says: 'please provide either index digests or image ref, but not both' },
    { args: ['ztoc', 'info', UNKNOWN], says: `couldn't retrieve artifact for ${UNKNOWN}, not found` },
    { args: ['ztoc', 'info', 'sha256:zz'], says: 'invalid checksum digest' },
    { args: ['ztoc', 'get-file', UNKNOWN], says: 'please provide both a ztoc digest and a filename to extract' },
    { args: ['prefetch', 'info', UNKNOWN], says: `couldn't retrieve artifact for ${UNKNOWN}, not found` },
  ];
  for (const { args, says } of absent) {
    it(`fails on ${args.join(' ')} with one line`, async (t) => {
      const run = await runSoci(['--root', join(await makeTempDir(t), 'root'), ...args]);
      assert.equal(run.exit, 1);
      assert.ok(run.stderr.startsWith(`soci: ${says}`), run.stderr);
      assert.equal(run.stderr.trimEnd().split('\n').length, 1);
    });
  }
});
