import assert from 'node:assert/strict';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { ImageReference } from '@soci/image';
import { collectLogs } from '@soci/log';
import { basic, fingerprint, PluginSource, type Lookup, type SourceChange } from './index.ts';

const signal = new AbortController().signal;
const V1 = 'credentialprovider.kubelet.k8s.io/v1';

function lookup(host: string, repository = 'app'): Lookup {
  return { host, reference: new ImageReference({ host, repository }), namespaces: [] };
}

function provider(name: string, more: object = {}): Record<string, unknown> {
  return { name, apiVersion: V1, matchImages: ['*.example'], defaultCacheDuration: '10m', ...more };
}

function configOf(...providers: readonly object[]): string {
  return JSON.stringify({ kind: 'CredentialProviderConfig', apiVersion: 'kubelet.config.k8s.io/v1', providers });
}

function answer(username: string, more: object = {}): string {
  const response = {
    kind: 'CredentialProviderResponse',
    apiVersion: V1,
    cacheKeyType: 'Image',
    auth: { '*.example': { username, password: 'hunter-2' } },
  };
  return `printf %s '${JSON.stringify({ ...response, ...more })}'`;
}

async function subject(t: TestContext, plugins: Record<string, string>, config: string | undefined, more: { timeoutMs?: number } = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'soci-plugins-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const [configPath, binDir] = [join(directory, 'config.yaml'), join(directory, 'bin')];
  await mkdir(binDir, { mode: 0o755 });
  if (config !== undefined) await writeFile(configPath, config, { mode: 0o644 });
  const write = (name: string, script: string): Promise<void> =>
    writeFile(join(binDir, name), `#!/bin/sh\necho ${name} >>${directory}/runs\n${script}\n`, { mode: 0o755 });
  for (const [name, script] of Object.entries(plugins)) await write(name, script);
  const clock = { nowMs: 1_000_000 };
  const { log, lines } = collectLogs();
  const env = { PATH: '/usr/bin:/bin', HOME: '/root', NODE_OPTIONS: '', SOCI_X: '1', FROM: 'service' };
  const source = new PluginSource({ configPath, binDir, env, log, nowMs: () => clock.nowMs, monotonicMs: () => clock.nowMs, ...more });
  const users = async (asked: Lookup): Promise<readonly string[]> => {
    const found = await source.resolve(asked, signal);
    if (found.kind !== 'candidates') return [found.kind === 'none' ? (found.reason ?? '') : found.kind];
    return found.candidates.map(({ credential }) => (credential.kind === 'basic' ? credential.username : credential.kind));
  };
  const runs = async (): Promise<number> => (await readFile(join(directory, 'runs'), 'utf8').catch(() => '')).split('\n').length - 1;
  return { directory, configPath, binDir, write, clock, lines, source, users, runs };
}

describe('source of credential plugins', () => {
  it("gives a plugin the request, its arguments and variables, and of the service's environment what is not its own", async (t) => {
    const config = configOf(provider('it', { args: ['get', 'a b'], env: [{ name: 'FROM', value: 'config' }] }));
    const { source, directory } = await subject(t, {}, config);
    const script = `cat >${directory}/stdin; env >${directory}/env; echo "$#,$1,$2" >${directory}/args; ${answer('alice')}`;
    await writeFile(join(directory, 'bin/it'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const found = await source.resolve(lookup('r.example:5000', 'team/app'), signal);
    assert.equal(found.kind, 'none', 'a port is part of the pattern');
    const got = await source.resolve(lookup('r.example', 'team/app'), signal);
    assert.ok(got.kind === 'candidates');
    assert.deepEqual(
      [got.source, got.candidates[0]?.entry, got.candidates[0]?.sinceMs],
      ['credential-plugins', '*.example by plugin it', 1_000_000],
    );
    assert.deepEqual(JSON.parse(await readFile(join(directory, 'stdin'), 'utf8')), {
      kind: 'CredentialProviderRequest',
      apiVersion: V1,
      image: 'r.example/team/app',
    });
    assert.equal(await readFile(join(directory, 'args'), 'utf8'), '2,get,a b\n');
    const environment = await readFile(join(directory, 'env'), 'utf8');
    assert.match(environment, /^FROM=config$/m);
    assert.match(environment, /^HOME=\/root$/m);
    assert.doesNotMatch(environment, /NODE_OPTIONS|SOCI_X/);
  });

  it('reads YAML, and a folder of files in the order of their names', async (t) => {
    const yaml = [
      'kind: CredentialProviderConfig',
      'apiVersion: kubelet.config.k8s.io/v1beta1',
      'providers:',
      '- name: one # the first',
      '  apiVersion: credentialprovider.kubelet.k8s.io/v1',
      '  matchImages: ["*.example", docker.io]',
      '  defaultCacheDuration: 1h30m',
    ].join('\n');
    const { configPath, users } = await subject(t, { one: answer('alice'), two: answer('bob') }, undefined);
    assert.deepEqual(await users(lookup('r.example')), [`no file ${configPath}`]);
    await mkdir(configPath, { mode: 0o755 });
    await writeFile(join(configPath, '2.json'), configOf(provider('two')));
    await writeFile(join(configPath, '1.yml'), yaml);
    await writeFile(join(configPath, 'notes.txt'), 'not read');
    assert.deepEqual(await users(lookup('r.example')), ['alice', 'bob']);
    assert.deepEqual(await users(lookup('registry-1.docker.io')), ['plugin one has nothing for docker.io/app']);
  });

  it('asks no more often than an answer holds: for the image, the registry or all', async (t) => {
    for (const [cacheKeyType, want] of [
      ['Image', 4],
      ['Registry', 3],
      ['Global', 2],
    ] as const) {
      const { clock, users, runs } = await subject(
        t,
        { it: answer('alice', { cacheKeyType, cacheDuration: '1h' }) },
        configOf(provider('it')),
      );
      for (const asked of [lookup('a.example', 'one'), lookup('a.example', 'two'), lookup('b.example')]) await users(asked);
      await users(lookup('b.example'));
      clock.nowMs += 3_600_000;
      assert.deepEqual(await users(lookup('b.example')), ['alice']);
      assert.equal(await runs(), want, cacheKeyType);
    }
  });

  it('takes the default where an answer says nothing of its life, and keeps none that says zero or less', async (t) => {
    const plugins = {
      said: answer('alice', { cacheDuration: '0s' }),
      past: answer('bob', { cacheDuration: '-1h' }),
      default: answer('carol'),
    };
    for (const [name, want] of [
      ['said', 3],
      ['past', 3],
      ['default', 2],
    ] as const) {
      const { clock, users, runs } = await subject(t, plugins, configOf(provider(name, { defaultCacheDuration: '2m' })));
      await users(lookup('a.example'));
      await users(lookup('a.example'));
      clock.nowMs += 120_000;
      await users(lookup('a.example'));
      assert.equal(await runs(), want, name);
    }
  });

  it('asks again when a registry refused what it said, but not in a loop', async (t) => {
    const { clock, source, users, runs, write } = await subject(t, { it: answer('alice') }, configOf(provider('it')));
    const print = fingerprint(basic('alice', 'hunter-2'));
    await users(lookup('a.example'));
    await write('it', answer('bob'));
    assert.equal(source.refused(fingerprint(basic('other', 'x'))), false);
    assert.equal(source.refused(print), false, 'it was asked but now');
    assert.deepEqual(await users(lookup('a.example')), ['alice']);
    clock.nowMs += 5_000;
    assert.equal(source.refused(print), true);
    assert.deepEqual(await users(lookup('a.example')), ['bob']);
    assert.equal(source.refused(print), false);
    assert.equal(await runs(), 2);
  });

  it('runs once for those who ask for one image at the same time, a few at a time for many, and uses what the first brings', async (t) => {
    const { users, runs } = await subject(t, { it: `sleep 0.2; ${answer('alice', { cacheKeyType: 'Global' })}` }, configOf(provider('it')));
    const same = await Promise.all(Array.from({ length: 5 }, () => users(lookup('a.example'))));
    assert.deepEqual(
      same,
      Array.from({ length: 5 }, () => ['alice']),
    );
    assert.equal(await runs(), 1);
    const other = await subject(t, { it: `sleep 0.2; ${answer('alice', { cacheKeyType: 'Global' })}` }, configOf(provider('it')));
    await Promise.all(Array.from({ length: 20 }, (_, i) => other.users(lookup('a.example', `app-${i}`))));
    assert.equal(await other.runs(), 4);
  });

  for (const [name, script, reason] of [
    ['fails', 'echo "hunter-2 is wrong"; echo hunter-2 >&2; exit 1', 'exit status 1'],
    ['answers no JSON', 'echo hunter-2', 'its answer is not a JSON object'],
    ['answers another kind', answer('alice', { kind: 'Other' }), 'its answer is no CredentialProviderResponse'],
    ['answers another version', answer('alice', { apiVersion: `${V1}beta1` }), `its answer is not of apiVersion ${V1}`],
    ['answers an odd duration', answer('alice', { cacheDuration: '1 day' }), 'its cacheDuration is no duration'],
    ['answers an odd map', answer('alice', { auth: [] }), 'its auth is not an object'],
    ['answers odd entries', answer('alice', { auth: { 'a.example': 'hunter-2' } }), 'its auth has an entry without user name and password'],
    ['answers without end', 'exec yes hunter-2', 'more than 262144 bytes of output'],
    ['does not answer', 'exec sleep 300', 'no answer within 700 ms'],
  ] as const) {
    it(`has nothing of a plugin that ${name}, says why, and asks the others`, async (t) => {
      const config = configOf(provider('bad'), provider('good', { matchImages: ['good.example'] }));
      const { users, lines } = await subject(t, { bad: script, good: answer('alice') }, config, { timeoutMs: 700 });
      assert.deepEqual(await users(lookup('a.example')), [`plugin bad: ${reason}`]);
      assert.deepEqual(await users(lookup('good.example')), ['alice']);
      assert.match(lines.join('\n'), /"plugin":"bad".*credential plugin failed/);
      assert.doesNotMatch(lines.join('\n'), /hunter/);
    });
  }

  it('is not held up for one image by what a plugin does for others', async (t) => {
    const config = configOf(provider('hangs', { matchImages: ['h.example'] }), provider('good', { matchImages: ['good.example'] }));
    const { source, users } = await subject(t, { hangs: 'exec sleep 300', good: answer('alice') }, config);
    const controller = new AbortController();
    const hanging = Array.from({ length: 6 }, (_, i) => source.resolve(lookup('h.example', `app-${i}`), controller.signal));
    assert.deepEqual(await users(lookup('good.example')), ['alice']);
    controller.abort(new Error('no longer wanted'));
    for (const { status } of await Promise.allSettled(hanging)) assert.equal(status, 'rejected');
  });

  it('runs no plugin that wants service account tokens, and says so', async (t) => {
    const { users, runs, lines } = await subject(
      t,
      { it: answer('alice') },
      configOf(provider('it', { tokenAttributes: { cacheType: 'Token' } })),
    );
    assert.deepEqual(await users(lookup('a.example')), [
      'plugin it: it wants a service account token (tokenAttributes), which is not supported',
    ]);
    assert.equal(await runs(), 0);
    assert.match(lines[0] ?? '', /"level":"error".*service account tokens.*not supported/);
  });

  it('takes a new configuration at once, withdraws what plugins that changed had said, and keeps to the last good one in what it withdraws', async (t) => {
    const plugins = { one: answer('alice'), two: answer('bob') };
    const { source, configPath, users, runs } = await subject(t, plugins, configOf(provider('one'), provider('two')));
    const changes: SourceChange[] = [];
    const subscription = source.onChange((change) => changes.push(change));
    t.after(() => subscription[Symbol.dispose]());
    assert.deepEqual(await users(lookup('a.example')), ['alice', 'bob']);
    changes.length = 0;
    await writeFile(configPath, 'providers: [');
    assert.match((await users(lookup('a.example'))).join(), /config\.yaml: not YAML near line 1$/);
    assert.deepEqual(changes, []);
    await writeFile(configPath, configOf(provider('two')));
    assert.deepEqual(await users(lookup('a.example')), ['bob']);
    assert.equal(await runs(), 2, 'what is configured as before is not asked again');
    assert.deepEqual(changes, [{ source: 'credential-plugins', withdrawn: [fingerprint(basic('alice', 'hunter-2'))] }]);
    await rm(configPath);
    assert.deepEqual(await users(lookup('a.example')), [`no file ${configPath}`]);
    assert.deepEqual(changes[1], { source: 'credential-plugins', withdrawn: [fingerprint(basic('bob', 'hunter-2'))] });
  });

  it('fails when others can change what it would run', { skip: userInfo().uid !== 0 && 'needs root' }, async (t) => {
    const { users, runs, configPath, binDir } = await subject(t, { it: answer('alice') }, configOf(provider('it')));
    const refused = { code: 'SOURCE_UNTRUSTED' };
    for (const path of [configPath, binDir, join(binDir, 'it')]) {
      await chmod(path, 0o757);
      await assert.rejects(users(lookup('a.example')), refused);
      await chmod(path, 0o755);
      await chown(path, 12345, 0);
      await assert.rejects(users(lookup('a.example')), refused);
      await chown(path, 0, 0);
    }
    assert.equal(await runs(), 0);
    assert.deepEqual(await users(lookup('a.example')), ['alice']);
  });

  for (const [name, change, reason] of [
    ['a path for a name', { name: '../it' }, 'providers.0.name: not the name of a program'],
    ['two dots for a name', { name: '..' }, 'providers.0.name: not the name of a program'],
    ['an unknown version', { apiVersion: 'v2' }, 'providers.0.apiVersion: '],
    ['no patterns', { matchImages: [] }, 'providers.0.matchImages: '],
    ['an odd duration', { defaultCacheDuration: '-1s' }, 'providers.0.defaultCacheDuration: expected a duration'],
    ['an unknown member', { argz: [] }, 'providers.0: Unrecognized key: "argz"'],
    ['a value that is no text', { env: [{ name: 'KEY', value: 31_337 }] }, 'providers.0.env.0.value: '],
  ] as const) {
    it(`does not use a configuration with ${name}, and says where it is wrong`, async (t) => {
      const { users, lines } = await subject(t, { it: answer('alice') }, configOf(provider('it', change)));
      const [told = ''] = await users(lookup('a.example'));
      assert.ok(told.includes(reason), told);
      await users(lookup('a.example'));
      assert.equal(lines.length, 1);
      assert.doesNotMatch(told, /31337/);
    });
  }

  it('takes names of object members for ordinary keys of an answer', async (t) => {
    const auth = '"__proto__":{"username":"mallory","password":"x"},"constructor":{"username":"mallory","password":"x"}';
    const script = `printf %s '{"kind":"CredentialProviderResponse","apiVersion":"${V1}","cacheKeyType":"Image","auth":{${auth},"*.example":{"username":"alice","password":"x"}}}'`;
    const { users } = await subject(t, { it: script }, configOf(provider('it')));
    assert.deepEqual(await users(lookup('a.example')), ['alice']);
  });

  it('wants an absolute folder', () => {
    const { log } = collectLogs();
    assert.throws(() => new PluginSource({ configPath: '/c', binDir: 'bin', env: {}, log }), { code: 'CONFIG_INVALID' });
  });
});
