import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseReference } from '@soci/image';
import { Registry } from '@soci/testing';
import { pushLayout } from '../image/push.ts';
import { NO_BACKGROUND_FETCH } from './credential-config.ts';
import { secretsConfig, startKube, SYNC_USER } from './kube.ts';
import { makeManyImages } from './many-images.ts';
import { lazyLayers } from './mounts.ts';
import { LOGIN, OUR_AGENT, scratchFolder, Stack } from './stack.ts';

const IMAGES = 50;
const WRONG_USERS = 20;
const MAX_LOGINS = 5;

describe('many images at once, among secrets that are all wrong', () => {
  it('no request is tried with more than five logins, nor again with none; other registries are not concerned', {
    timeout: 240_000,
  }, async () => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const kube = resources.use(await startKube(join(directory, 'kube')));
    await using stack = await Stack.start({
      logins: {},
      dockerLogin: null,
      config: async ({ host }) => {
        for (let number = 0; number < WRONG_USERS; number++) {
          await kube.createNamespace(`tenant-${number}`);
          await kube.putPullSecret(`tenant-${number}`, 'pull', { [host]: `wrong-${number}:wrong` });
        }
        return NO_BACKGROUND_FETCH + secretsConfig(kube.kubeconfig(SYNC_USER));
      },
    });
    const open = resources.use(await Registry.start({ directory: join(directory, 'open') }));
    const layouts = await makeManyImages(join(directory, 'images'), IMAGES);
    const references = await Promise.all(
      layouts.map(async (layout, number) => {
        if (number % 2 === 0) return await stack.push(layout, `private/app-${number}:1`);
        const reference = `${open.host}/public/app-${number}:1`;
        await pushLayout(layout, parseReference(reference), LOGIN);
        return reference;
      }),
    );

    await Promise.all(references.map((reference) => stack.pull(reference)));

    const publicImages = references.filter((reference) => reference.startsWith(open.host)).length;
    assert.equal(await lazyLayers(stack.directory), publicImages, 'images of the open registry are lazy, the others are not');
    const usersByPath = Map.groupBy(
      stack.proxy.seen.filter(({ userAgent }) => userAgent.startsWith(OUR_AGENT)),
      ({ method, path }) => `${method} ${path}`,
    );
    assert.ok(usersByPath.size >= IMAGES - publicImages, `${usersByPath.size} things asked of the private registry`);
    for (const [request, tries] of usersByPath) {
      const users = tries.map(({ user }) => user);
      const logins = new Set(users.filter((user) => user !== undefined));
      assert.ok(logins.size > 0 && logins.size <= MAX_LOGINS, `${request}: ${[...logins].join(', ')}`);
      assert.equal(users.lastIndexOf(undefined), 0, `${request}: anonymous again, ${users.join(', ')}`);
    }
  });
});
