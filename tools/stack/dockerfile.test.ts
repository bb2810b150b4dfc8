import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseTarget } from './dockerfile.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const dockerfile = readFileSync(join(ROOT, 'deploy', 'Dockerfile'), 'utf8');
/** Those that mount. */
const ROOTS = ['agent', 'snapshotter'];

describe('deploy/Dockerfile', () => {
  for (const app of readdirSync(join(ROOT, 'apps'))) {
    it(`has a target for ${app} that starts its program`, () => {
      const { entrypoint, user } = parseTarget(dockerfile, app);
      const [path = ''] = entrypoint;
      assert.match(path, new RegExp(`^/opt/soci/apps/${app}/bin/`));
      assert.ok(readdirSync(join(ROOT, 'apps', app, 'bin')).includes(path.slice(path.lastIndexOf('/') + 1)));
      assert.equal(user === undefined, ROOTS.includes(app), `user ${user}`);
    });
  }

  it('pins the images that it begins with', () => {
    const images = [...dockerfile.matchAll(/^ARG \w+=(\S+)$/gm)].map(([, image]) => image ?? '');
    assert.equal(images.length, 2);
    for (const image of images) assert.match(image, /@sha256:[0-9a-f]{64}$/);
  });
});

describe('the reading of Dockerfiles', () => {
  const text = 'FROM x AS a\nENV P=1 Q=2\nUSER 1:1\nENTRYPOINT ["/a"]\nFROM a AS b\nENV Q=3\nRUN x \\\n  USER 2\nUSER 3:3\nFROM a AS c\n';

  it('lets a stage say what the one before it said', () => {
    assert.deepEqual(parseTarget(text, 'b'), { entrypoint: ['/a'], env: { P: '1', Q: '3' }, user: '3:3' });
    assert.deepEqual(parseTarget(text, 'c'), { entrypoint: ['/a'], env: { P: '1', Q: '2' }, user: '1:1' });
  });

  it('knows no target that is not there', () => {
    assert.throws(() => parseTarget(text, 'd'), /no target d/);
  });
});
