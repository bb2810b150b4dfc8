import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cri, waitFor } from '@soci/testing';
import { criConfig, NO_BACKGROUND_FETCH } from './credential-config.ts';
import { sha256 } from './digest.ts';
import { fileOf, makeLazyImage } from './lazy-image.ts';
import { LOGIN, readers, scratchFolder, Stack } from './stack.ts';

const OLD = { username: 'old', password: 'old-password' };
const FRESH = { username: 'fresh', password: 'fresh-password' };
const RECOVERY_MS = 5_000;
/** In which a read that may not recover would have done so. */
const NO_RECOVERY_MS = 1_500;

describe('credentials of a kubelet that expire while an image is in use', () => {
  for (const isolation of ['node', 'namespace'] as const) {
    it(`a waiting read goes on when another image of the registry is pulled with fresh ones, isolation = "${isolation}"`, {
      timeout: 180_000,
    }, async () => {
      await using resources = new AsyncDisposableStack();
      const directory = await scratchFolder(resources);
      const used = await makeLazyImage(join(directory, 'used'), { files: 2 });
      const [downloaded, missing] = [fileOf(used, 0), fileOf(used, 1)];
      await using stack = await Stack.start({
        logins: { [OLD.username]: OLD.password, [FRESH.username]: FRESH.password },
        dockerLogin: null,
        config: (place) => `${NO_BACKGROUND_FETCH}${criConfig(place)}[credentials]\nisolation = "${isolation}"\n`,
      });
      using kubelet = new Cri(stack.snapshotter.address);
      const pullAnother = async (namespace: string): Promise<void> => {
        const { layout } = await makeLazyImage(join(directory, namespace));
        await kubelet.pullImage(await stack.push(layout, `${namespace}/other:1`), FRESH, { namespace });
      };
      await kubelet.pullImage(await stack.push(used.layout, 'expiry/used:1'), OLD, { namespace: 'team-a' });
      const view = await stack.view('view');
      assert.equal(await sha256(join(view, downloaded.path)), downloaded.digest);

      await stack.registry.setLogins({ [LOGIN.username]: LOGIN.password, [FRESH.username]: FRESH.password });
      let isOver = false;
      const read = sha256(join(view, missing.path)).finally(() => (isOver = true));
      read.catch(() => undefined); // awaited below
      await waitFor(async () => (await stack.registry.requests()).some(({ status, user }) => status === 401 && user === OLD.username), {
        timeoutMs: 10_000,
        what: 'the old login to be refused',
      });
      await pullAnother('team-b');
      if (isolation === 'namespace') {
        await sleep(NO_RECOVERY_MS);
        assert.ok(!isOver, 'a login of another namespace was used');
        await pullAnother('team-a');
      }
      await waitFor(() => isOver, { timeoutMs: RECOVERY_MS, what: 'the read to go on' });

      assert.equal(await read, missing.digest);
      assert.equal(await sha256(join(view, downloaded.path)), downloaded.digest);
      assert.deepEqual(await readers(stack.registry, 'expiry/used'), ['fresh', 'old']);
      await stack.unview(view);
    });
  }
});
