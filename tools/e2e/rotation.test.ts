import assert from 'node:assert/strict';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { TokenServer, waitFor } from '@soci/testing';
import { NO_BACKGROUND_FETCH } from './credential-config.ts';
import { writeHelper } from './credential-helper.ts';
import { secretsConfig, startKube, SYNC_USER, type Kube } from './kube.ts';
import { makeLazyImage, type LazyImage } from './lazy-image.ts';
import { LOGIN, OUR_AGENT, scratchFolder, Stack, type Shape } from './stack.ts';

const FILES = 20;
/** Told as expires_in; the registry refuses the token five seconds after its issue all the same. */
const TOLD_LIFE_SEC = 300;
const SIGNED_LIFE_SEC = -55;
const ROTATIONS = 3;
const READ = `for f in /data/*; do sha256sum $f || exit 1; sleep 1; done`;

interface Case {
  readonly name: string;
  readonly shape: Shape;
  /** Where the node has its credential from. */
  readonly from: 'config.json' | 'a helper' | 'a Secret';
}

const CASES: readonly Case[] = [
  { name: 'in config.json, in one process', shape: 'agent', from: 'config.json' },
  { name: 'in config.json, snapshotter and fetcher apart', shape: 'split', from: 'config.json' },
  { name: 'by a helper', shape: 'agent', from: 'a helper' },
  { name: 'in a Kubernetes Secret', shape: 'agent', from: 'a Secret' },
];

/** Gives the node another password, as a tool that replaces files does. */
type ChangePassword = (password: string) => Promise<void>;

async function writeConfig(stack: Stack, config: object): Promise<void> {
  const path = join(stack.snapshotter.home, '.docker', 'config.json');
  await writeFile(`${path}.next`, JSON.stringify(config), { mode: 0o600 });
  await rename(`${path}.next`, path);
}

function inConfig(stack: Stack): ChangePassword {
  return (password) => {
    const auth = Buffer.from(`${LOGIN.username}:${password}`).toString('base64');
    return writeConfig(stack, { auths: { [stack.proxy.host]: { auth } } });
  };
}

async function byHelper(stack: Stack, folder: string): Promise<ChangePassword> {
  const change: ChangePassword = (Secret) =>
    writeHelper({ folder, name: 'rotating', answer: JSON.stringify({ ServerURL: stack.proxy.host, Username: LOGIN.username, Secret }) });
  await change(LOGIN.password);
  await writeConfig(stack, { credHelpers: { [stack.proxy.host]: 'rotating' } });
  return change;
}

function inSecret(kube: Kube, host: string): ChangePassword {
  return (password) => kube.putPullSecret('default', 'pull', { [host]: `${LOGIN.username}:${password}` });
}

/** What the container prints that reads every file of an image. */
async function readAll(stack: Stack, reference: string): Promise<readonly string[]> {
  const output = await stack.containerd.ctr([
    'run',
    '--rm',
    '--snapshotter',
    'soci',
    reference,
    `reader-${stack.proxy.host.replaceAll(':', '-')}`,
    'sh',
    '-c',
    READ,
  ]);
  return output.trim().split('\n');
}

function expectedLines({ files }: LazyImage): readonly string[] {
  return files.map(({ path, digest }) => `${digest}  /${path}`).toSorted();
}

describe('a password that changes while a container reads lazily, with tokens near their end', { concurrency: 2 }, () => {
  for (const { name, shape, from } of CASES) {
    it(`${name}: no read fails`, { timeout: 240_000 }, async () => {
      await using resources = new AsyncDisposableStack();
      const directory = await scratchFolder(resources);
      const users = { [LOGIN.username]: LOGIN.password };
      const tokens = resources.use(await TokenServer.start({ directory: join(directory, 'tokens'), users }));
      const image = await makeLazyImage(join(directory, 'image'), { files: FILES });
      const env = { PATH: `${directory}:${process.env.PATH ?? ''}` };
      const kube = from === 'a Secret' ? resources.use(await startKube(join(directory, 'kube'))) : undefined;
      const config = NO_BACKGROUND_FETCH + (kube === undefined ? '' : secretsConfig(kube.kubeconfig(SYNC_USER)));
      await using stack = await Stack.start({ shape, tokens, env, config, ...(kube && { dockerLogin: null }) });
      const { host } = stack.proxy;
      const changePassword = kube ? inSecret(kube, host) : from === 'config.json' ? inConfig(stack) : await byHelper(stack, directory);
      if (kube) await changePassword(LOGIN.password);
      const reference = await stack.push(image.layout, 'rotation/app:1');
      tokens.lifeSec = TOLD_LIFE_SEC;
      tokens.signedLifeSec = SIGNED_LIFE_SEC;
      await stack.pull(reference);

      let isOver = false;
      const reading = readAll(stack, reference).finally(() => (isOver = true));
      reading.catch(() => undefined); // awaited below
      const logins = (granted: boolean): number =>
        tokens.seen.filter((request) => request.granted === granted && request.userAgent.startsWith(OUR_AGENT)).length;
      const until = async (what: string, isSo: () => boolean): Promise<void> => {
        await waitFor(() => isOver || isSo(), { timeoutMs: 30_000, what });
        assert.ok(!isOver, `the container was still to read before ${what}`);
      };
      for (let rotation = 1; rotation <= ROTATIONS; rotation++) {
        const [granted, refused] = [logins(true), logins(false)];
        const password = `password-${rotation}`;
        tokens.users.set(LOGIN.username, password);
        await until(`the old login is refused, change ${rotation}`, () => logins(false) > refused); // a read waits now
        await changePassword(password);
        await until(`the new login is taken, change ${rotation}`, () => logins(true) > granted);
      }

      assert.deepEqual((await reading).toSorted(), expectedLines(image));
      assert.doesNotMatch(await readFile(stack.snapshotter.logPath, 'utf8'), /answered with EIO/);
    });
  }
});
