import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ImageReference } from '@soci/image';
import { collectLogs } from '@soci/log';
import {
  basic,
  DockerConfigSource,
  dockerConfigPath,
  fingerprint,
  originOf,
  type Answer,
  type Lookup,
  type SourceChange,
} from './index.ts';

const signal = new AbortController().signal;

async function tempDir(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'soci-keychain-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function sourceOf(t: TestContext, text: string | object, env: Record<string, string> = {}) {
  const directory = await tempDir(t);
  const path = join(directory, 'config.json');
  await writeFile(path, typeof text === 'string' ? text : JSON.stringify(text), { mode: 0o600 });
  const logs = collectLogs();
  return {
    directory,
    path,
    ...logs,
    source: new DockerConfigSource({ path, env: { PATH: `${directory}:/usr/bin:/bin`, ...env }, log: logs.log }),
  };
}

function lookup(host: string, repository = 'team/app'): Lookup {
  return { host, reference: new ImageReference({ host, repository }), namespaces: [] };
}

function entry(user: string): { readonly auth: string } {
  return { auth: Buffer.from(`${user}:pw`).toString('base64') };
}

function user(answer: Answer): string | undefined {
  const credential = answer.kind === 'candidates' ? answer.candidates[0]?.credential : undefined;
  return credential?.kind === 'basic' ? credential.username : undefined;
}

describe('DockerConfigSource', () => {
  it('reads the file again when it is written anew or replaced by renaming, and only then', async (t) => {
    const { source, path, directory } = await sourceOf(t, { auths: { 'a.example': entry('one') } });
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'one');
    await writeFile(path, JSON.stringify({ auths: { 'a.example': entry('two') } }));
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'two');
    const other = join(directory, 'next');
    await writeFile(other, JSON.stringify({ auths: { 'a.example': entry('six') } }), { mode: 0o600 });
    await rename(other, path);
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'six');
    await rm(path);
    assert.equal((await source.resolve(lookup('a.example'), signal)).kind, 'none');
  });

  it('names the entry and the file that a credential came from', async (t) => {
    const { source, path } = await sourceOf(t, { auths: { 'https://a.example/v2/': entry('one') } });
    const answer = await source.resolve(lookup('a.example'), signal);
    assert.ok(answer.kind === 'candidates');
    assert.deepEqual(
      answer.candidates.map((candidate) => originOf(answer.source, candidate)),
      [`docker-config (https://a.example/v2/ in ${path})`],
    );
  });

  it('withdraws what an edit took away, within seconds and without a look-up, and watches no longer than it has to', async (t) => {
    const { source, path } = await sourceOf(t, { auths: { 'a.example': entry('one'), 'b.example': entry('two') } });
    const answer = await source.resolve(lookup('a.example'), signal);
    assert.ok(answer.kind === 'candidates');
    const changes: SourceChange[] = [];
    const { promise: changed, resolve: onChanged } = Promise.withResolvers<undefined>();
    const subscription = source.onChange((change) => {
      changes.push(change);
      onChanged(undefined);
    });
    t.after(() => subscription[Symbol.dispose]());
    await delay(1_200); // the first look of the watcher, from which on it sees changes
    await writeFile(`${path}.new`, JSON.stringify({ auths: { 'a.example': entry('three'), 'b.example': entry('two') } }), { mode: 0o600 });
    await rename(`${path}.new`, path);
    await Promise.race([changed, delay(2_500)]);
    const [first] = answer.candidates.map(({ credential }) => fingerprint(credential));
    assert.deepEqual(changes, [{ source: 'docker-config', withdrawn: [first] }]);
    subscription[Symbol.dispose]();
    await rm(path);
    await source.resolve(lookup('a.example'), signal);
    assert.equal(changes.length, 1);
  });

  it('withdraws nothing while the file or an entry is broken, and then what the next good version takes away', async (t) => {
    const { source, path } = await sourceOf(t, { auths: { 'a.example': entry('one'), 'b.example': entry('two') } });
    const withdrawn: string[][] = [];
    using subscription = source.onChange((change) => withdrawn.push([...change.withdrawn]));
    const write = async (text: string | object): Promise<void> => {
      await writeFile(path, typeof text === 'string' ? text : JSON.stringify(text));
      await source.resolve(lookup('a.example'), signal);
    };
    await write({ auths: { 'a.example': entry('one'), 'b.example': entry('two') } });
    await write('{');
    await write('[]');
    await write({ auths: { 'a.example': entry('one'), 'b.example': { auth: '!' } } });
    assert.deepEqual(withdrawn.flat(), []);
    await write({ auths: { 'a.example': entry('one') } });
    assert.deepEqual(withdrawn.flat(), [fingerprint(basic('two', 'pw'))]);
    await write('{');
    await rm(path);
    await source.resolve(lookup('a.example'), signal);
    assert.deepEqual(withdrawn.flat(), [fingerprint(basic('two', 'pw')), fingerprint(basic('one', 'pw'))]);
    subscription[Symbol.dispose]();
  });

  it('takes names of object members for ordinary registries', async (t) => {
    const auth = `{"auth": "${entry('one').auth}"}`;
    const { source } = await sourceOf(t, `{"auths": {"__proto__": ${auth}, "toString": ${auth}}, "credHelpers": {"valueOf": "absent"}}`);
    assert.equal(user(await source.resolve(lookup('__proto__'), signal)), 'one');
    assert.equal(user(await source.resolve(lookup('toString'), signal)), 'one');
    assert.equal((await source.resolve(lookup('constructor'), signal)).kind, 'none');
    await assert.rejects(source.resolve(lookup('valueOf'), signal), { code: 'HELPER_MISSING' });
  });

  it('asks a helper again after a refusal, where it keeps answers at all', async (t) => {
    const { directory, path, log } = await sourceOf(t, { credsStore: 'it' });
    const script = (name: string): string => `#!/bin/sh\necho '{"Username":"${name}","Secret":"pw"}'\n`;
    await writeFile(join(directory, 'docker-credential-it'), script('one'), { mode: 0o700 });
    const source = new DockerConfigSource({ path, env: { PATH: `${directory}:/usr/bin:/bin` }, log });
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'one');
    await writeFile(join(directory, 'docker-credential-it'), script('two'));
    assert.equal(source.refused(fingerprint(basic('one', 'pw'))), false, 'nothing is kept, so the next look-up is fresh anyway');
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'two');
  });

  it('says why it has nothing', async (t) => {
    const { source, path } = await sourceOf(t, { auths: {} });
    const reason = async (): Promise<string | undefined> => {
      const answer = await source.resolve(lookup('a.example'), signal);
      return answer.kind === 'none' ? answer.reason : answer.kind;
    };
    assert.equal(await reason(), `no entry for a.example/team/app in ${path}`);
    await writeFile(path, '{');
    assert.equal(await reason(), `${path}: not JSON near character 1`);
    await rm(path);
    assert.equal(await reason(), `no file ${path}`);
  });

  it('takes a broken file for no credential and warns once, naming the file', async (t) => {
    const { source, path, lines } = await sourceOf(t, '{"auths": {"a.example": {"auth": "c2VjcmV0OnNlY3JldA=="}');
    for (let i = 0; i < 3; i++) assert.equal((await source.resolve(lookup('a.example'), signal)).kind, 'none');
    assert.equal(lines.length, 1);
    assert.ok(lines[0]?.includes(path));
    assert.doesNotMatch(lines.join(), /c2VjcmV0/);
  });

  for (const [name, text] of [
    ['a byte-order mark', '\ufeff{}'],
    ['a list', '[]'],
    ['auths that is no object', '{"auths": []}'],
    ['credsStore that is no text', '{"credsStore": 1}'],
    ['nesting without end', '['.repeat(100_000)],
    ['more than a mebibyte', `{"auths": {"a.example": {"email": "${'x'.repeat(1024 * 1024)}"}}}`],
  ] as const) {
    it(`warns of ${name}`, async (t) => {
      const { source, lines } = await sourceOf(t, text);
      assert.equal((await source.resolve(lookup('a.example'), signal)).kind, 'none');
      assert.match(lines.join(), /docker config not usable/);
    });
  }

  it('warns of an entry that is broken, names it, and uses the others', async (t) => {
    const { source, lines } = await sourceOf(t, {
      auths: { 'bad.example': { auth: 'no base64!' }, 'odd.example': { auth: 7 }, 'a.example': entry('one') },
    });
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'one');
    assert.match(lines.join('\n'), /"key":"bad.example".*entry skipped[^]*"key":"odd.example"/);
    assert.doesNotMatch(lines.join(), /no base64!/);
  });

  it('merges a map that is given twice, the last entry of a name winning', async (t) => {
    const { source } = await sourceOf(
      t,
      `{"auths": {"a.example": ${JSON.stringify(entry('one'))}, "b.example": ${JSON.stringify(entry('old'))}}, "Auths": {"b.example": ${JSON.stringify(entry('new'))}}}`,
    );
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'one');
    assert.equal(user(await source.resolve(lookup('b.example'), signal)), 'new');
  });

  it('refuses a file that others can write, and says which', async (t) => {
    const { source, path } = await sourceOf(t, { auths: { 'a.example': entry('one') } });
    for (const mode of [0o620, 0o602, 0o666]) {
      await chmod(path, mode);
      await assert.rejects(
        source.resolve(lookup('a.example'), signal),
        (error: Error) => 'code' in error && error.code === 'SOURCE_UNTRUSTED' && error.message.includes(path),
      );
    }
    await chmod(path, 0o600);
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'one');
  });

  it('refuses a file of another user', { skip: userInfo().uid !== 0 && 'needs root' }, async (t) => {
    const { source, path } = await sourceOf(t, { auths: { 'a.example': entry('one') } });
    await chown(path, 12345, 12345);
    await assert.rejects(source.resolve(lookup('a.example'), signal), { code: 'SOURCE_UNTRUSTED' });
  });

  it('warns of a file that others can read', async (t) => {
    const { source, path, lines } = await sourceOf(t, { auths: { 'a.example': entry('one') } });
    await chmod(path, 0o644);
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'one');
    assert.match(lines.join(), /can be read by other users/);
  });

  it('is not held up by a pipe in the place of the file', async (t) => {
    const directory = await tempDir(t);
    const path = join(directory, 'config.json');
    execFileSync('mkfifo', ['-m', '600', path]);
    const { log, lines } = collectLogs();
    assert.equal((await new DockerConfigSource({ path, env: {}, log }).resolve(lookup('a.example'), signal)).kind, 'none');
    assert.match(lines.join(), /not a regular file/);
  });

  it('ignores a DOCKER_AUTH_CONFIG that is broken, with a warning that does not quote it', async (t) => {
    const { source, lines } = await sourceOf(
      t,
      { auths: { 'a.example': entry('one') } },
      { DOCKER_AUTH_CONFIG: '{"auths": {"a.example": {"auth": "dHdvOnB3"}}} {}' },
    );
    assert.equal(user(await source.resolve(lookup('a.example'), signal)), 'one');
    assert.match(lines.join(), /DOCKER_AUTH_CONFIG ignored/);
    assert.doesNotMatch(lines.join(), /dHdvOnB3/);
  });

  it('serves a path of Docker Hub under any of its names, and no other path', async (t) => {
    const { source } = await sourceOf(t, { auths: { 'docker.io/team': entry('team'), 'index.docker.io/library/nginx': entry('nginx') } });
    assert.equal(user(await source.resolve(lookup('registry-1.docker.io', 'team/app'), signal)), 'team');
    assert.equal(user(await source.resolve(lookup('registry-1.docker.io', 'library/nginx'), signal)), 'nginx');
    assert.equal((await source.resolve(lookup('registry-1.docker.io', 'library/httpd'), signal)).kind, 'none');
  });
});

describe('dockerConfigPath', () => {
  it('goes by DOCKER_CONFIG, HOME and the password database, in this order', () => {
    assert.equal(dockerConfigPath({ DOCKER_CONFIG: '/etc/docker', HOME: '/home/u' }), '/etc/docker/config.json');
    assert.equal(dockerConfigPath({ HOME: '/home/u' }), '/home/u/.docker/config.json');
    assert.equal(dockerConfigPath({}), join(userInfo().homedir, '.docker/config.json'));
  });
});
