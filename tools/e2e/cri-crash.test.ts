import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cri, TokenServer, waitFor } from '@soci/testing';
import { criConfig, NO_BACKGROUND_FETCH } from './credential-config.ts';
import { sha256 } from './digest.ts';
import { fileOf, makeLazyImage, type LazyImage } from './lazy-image.ts';
import { LOGIN, OUR_AGENT, scratchFolder, Stack } from './stack.ts';

const FILES = 16;
/** Told as expires_in; the registry refuses the token five seconds after its issue all the same. */
const TOLD_LIFE_SEC = 300;
const SIGNED_LIFE_SEC = -55;
const KILLS = 4;
const READ = 'for f in /data/*; do sha256sum $f || exit 1; sleep 1; done';
const TAKEN_OVER = 'credentials of pulls go on after a crash';

interface Node {
  readonly stack: Stack;
  readonly tokens: TokenServer;
  readonly image: LazyImage;
  readonly reference: string;
}

/** A node that knows no login but the one that a kubelet sent with its pull for a pod of team-a. */
async function startNode(resources: AsyncDisposableStack, isolation: string): Promise<Node> {
  const directory = await scratchFolder(resources);
  const tokens = resources.use(
    await TokenServer.start({ directory: join(directory, 'tokens'), users: { [LOGIN.username]: LOGIN.password } }),
  );
  const image = await makeLazyImage(join(directory, 'image'), { files: FILES });
  const stack = resources.use(
    await Stack.start({
      tokens,
      dockerLogin: null,
      config: (place) =>
        `${NO_BACKGROUND_FETCH}${criConfig(place)}[credentials]\nisolation = "${isolation}"\n[blob]\nread_timeout_sec = 10\n`,
    }),
  );
  const reference = await stack.push(image.layout, 'crash/app:1');
  tokens.lifeSec = TOLD_LIFE_SEC;
  tokens.signedLifeSec = SIGNED_LIFE_SEC;
  await pull(stack, reference);
  return { stack, tokens, image, reference };
}

async function pull({ snapshotter }: Stack, reference: string): Promise<void> {
  using kubelet = new Cri(snapshotter.address);
  await kubelet.pullImage(reference, LOGIN, { namespace: 'team-a' });
}

function logins({ tokens }: Node): number {
  return tokens.seen.filter(({ granted, user, userAgent }) => granted && user === LOGIN.username && userAgent.startsWith(OUR_AGENT)).length;
}

describe('credentials of the kubelet, when the service is killed', () => {
  for (const isolation of ['node', 'namespace']) {
    it(`a container that reads lazily reads on with them, isolation = "${isolation}"`, { timeout: 240_000 }, async () => {
      await using resources = new AsyncDisposableStack();
      const node = await startNode(resources, isolation);
      const { stack, image, reference } = node;
      let isOver = false;
      const reading = stack.containerd
        .ctr(['run', '--rm', '--snapshotter', 'soci', reference, 'reader', 'sh', '-c', READ])
        .finally(() => (isOver = true));
      reading.catch(() => undefined); // awaited below
      const untilLogin = async (what: string, before: number): Promise<void> => {
        await waitFor(() => isOver || logins(node) > before, { timeoutMs: 30_000, what });
        if (isOver) assert.fail(`the container ended before ${what}: ${await reading}`);
      };
      await untilLogin('it needed a login', logins(node));
      for (let kill = 1; kill <= KILLS; kill++) {
        const before = logins(node);
        stack.snapshotter.killService('SIGKILL');
        await untilLogin(`a login after kill ${kill}`, before);
        await sleep(kill * 150);
      }
      assert.deepEqual(
        (await reading).trim().split('\n').toSorted(),
        image.files.map(({ path, digest }) => `${digest}  /${path}`).toSorted(),
      );
      const log = await readFile(stack.snapshotter.logPath, 'utf8');
      assert.doesNotMatch(log, /answered with EIO/);
      assert.equal(log.split(TAKEN_OVER).length - 1, KILLS);
      assert.ok(!log.includes(LOGIN.password));
    });
  }

  it('are gone after a stop, and there again with the next pull', { timeout: 120_000 }, async () => {
    await using resources = new AsyncDisposableStack();
    const node = await startNode(resources, 'node');
    const { stack, image, reference } = node;
    const view = await stack.view('view');
    stack.snapshotter.killService('SIGKILL');
    assert.equal(await sha256(join(view, fileOf(image, 0).path)), fileOf(image, 0).digest);

    stack.snapshotter.kill('SIGTERM');
    await stack.snapshotter.exited(10_000);
    await stack.snapshotter.startAgain();
    const before = logins(node);
    const again = await stack.view('again');
    await assert.rejects(sha256(join(again, fileOf(image, 1).path)), /Input\/output error/);
    assert.equal(logins(node), before);
    assert.equal((await readFile(stack.snapshotter.logPath, 'utf8')).split(TAKEN_OVER).length - 1, 1);

    await pull(stack, reference);
    assert.equal(await sha256(join(again, fileOf(image, 1).path)), fileOf(image, 1).digest);
    await stack.unview(again);
    await stack.unview(view);
  });
});
