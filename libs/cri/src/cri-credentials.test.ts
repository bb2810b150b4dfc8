import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { parseReference } from '@soci/image';
import { fingerprint, type Answer, type SourceChange } from '@soci/keychain';
import { collectLogs } from '@soci/log';
import { CriCredentials, toLogin, type AuthConfig, type CriCredentialsOptions, type Login } from './index.ts';
import { KeptPulls } from './kept-pulls.ts';

const APP = 'registry.example.com/team-a/app:1.0';
const TOOL = 'registry.example.com/team-b/tool:3';
const HOST = 'registry.example.com';
const ID = `sha256:${'ab'.repeat(32)}`;

function auth(fields: Partial<Record<keyof AuthConfig, string>>): AuthConfig {
  const bytes = (text = '') => new Uint8Array(Buffer.from(text));
  return {
    username: fields.username ?? '',
    password: bytes(fields.password),
    auth: bytes(fields.auth),
    serverAddress: fields.serverAddress ?? '',
    identityToken: bytes(fields.identityToken),
    registryToken: bytes(fields.registryToken),
  };
}

const login = (username: string, password = 'pw'): Login => toLogin(auth({ username, password }));

function make(t: TestContext, options: CriCredentialsOptions = {}): CriCredentials {
  const credentials = new CriCredentials(options);
  t.after(() => credentials[Symbol.dispose]());
  return credentials;
}

const pull = (credentials: CriCredentials, image: string, namespace: string, shown: Login, imageId = ''): void =>
  credentials.pullStarted(image, namespace, shown).succeeded(imageId);

const ask = (credentials: CriCredentials, image = APP, namespaces: readonly string[] = [], host = HOST): Promise<Answer> =>
  credentials.resolve({ host, reference: parseReference(image), namespaces });

async function users(...args: Parameters<typeof ask>): Promise<string[]> {
  const answer = await ask(...args);
  if (answer.kind !== 'candidates') return [];
  return answer.candidates.map(({ credential }) => (credential.kind === 'basic' ? credential.username : credential.kind));
}

describe('CriCredentials', () => {
  it('gives a login while its pull runs, and after it only when that succeeded', async (t) => {
    const credentials = make(t);
    const failing = credentials.pullStarted(APP, 'a', login('wrong'));
    assert.deepEqual(await users(credentials), ['wrong']);
    failing.failed();
    assert.deepEqual(await users(credentials), []);
    pull(credentials, APP, 'a', login('right'));
    assert.deepEqual(await users(credentials), ['right']);
  });

  it('keeps what worked when a later pull fails or shows nothing', async (t) => {
    const credentials = make(t);
    pull(credentials, APP, 'a', login('right'));
    const failing = credentials.pullStarted(APP, 'a', login('wrong'));
    assert.deepEqual(await users(credentials), ['right', 'wrong']);
    failing.failed();
    failing.succeeded(''); // only the first word counts
    pull(credentials, APP, 'b', toLogin(undefined));
    credentials.pullStarted(APP, 'a', login('right')).failed();
    assert.deepEqual(await users(credentials), ['right']);
    assert.deepEqual(credentials.namespacesOf(parseReference(APP)), ['a', 'b']);
  });

  it('has the latest success first, then later pulls from the same registry', async (t) => {
    const credentials = make(t);
    pull(credentials, TOOL, 'b', login('too old'));
    pull(credentials, APP, 'a', login('first'));
    pull(credentials, APP, 'a', login('second'));
    pull(credentials, TOOL, 'b', login('fresh'));
    pull(credentials, 'other.example.com/x:1', 'a', login('elsewhere'));
    credentials.pullStarted(TOOL, 'b', login('unproven'));
    assert.deepEqual(await users(credentials), ['second', 'fresh', 'first']);
    assert.deepEqual(await users(credentials, 'registry.example.com/team-a/app:2.0'), []);
  });

  it('offers at most five, each once, and none of the three kinds crowds out another', async (t) => {
    const credentials = make(t);
    for (const namespace of ['a', 'b', 'c', 'd', 'e', 'f']) pull(credentials, APP, namespace, login(`own ${namespace}`));
    pull(credentials, APP, 'g', login('own f'));
    for (const user of ['x', 'y', 'z']) pull(credentials, TOOL, user, login(user));
    credentials.pullStarted(APP, 'h', login('running'));
    assert.deepEqual(await users(credentials), ['own f', 'running', 'z', 'y', 'own e']);
  });

  it('with isolation asks only what the namespaces of the mount pulled with', async (t) => {
    const credentials = make(t, { isolation: 'namespace' });
    pull(credentials, APP, 'a', login('a'));
    pull(credentials, APP, 'b', login('b'));
    pull(credentials, APP, '', login('no pod'));
    pull(credentials, TOOL, 'b', login('fresh b'));
    assert.deepEqual(await users(credentials, APP, ['a']), ['a']);
    assert.deepEqual(await users(credentials, APP, ['b']), ['b', 'fresh b']);
    assert.deepEqual(await users(credentials, APP, ['']), ['no pod']);
    assert.deepEqual(await users(credentials, APP, []), []);
    assert.deepEqual(await users(credentials, APP, ['elsewhere']), []);
  });

  it('gives nothing to a host that is not the registry, whatever its name looks like', async (t) => {
    const credentials = make(t);
    pull(credentials, APP, 'a', login('a'));
    for (const host of ['cdn.example.com', 'registry.example.com.evil', 'registry.example.com:5000', 'example.com', ''])
      assert.deepEqual(await users(credentials, APP, [], host), [], host);
  });

  it('knows Docker Hub by all its names', async (t) => {
    const credentials = make(t);
    pull(credentials, 'nginx', 'a', toLogin(auth({ username: 'u', serverAddress: 'https://index.docker.io/v1/' })));
    for (const host of ['registry-1.docker.io', 'docker.io', 'index.docker.io'])
      assert.deepEqual(await users(credentials, 'docker.io/library/nginx:latest', [], host), ['u'], host);
  });

  it('fails for what cannot be decoded, unless another pull brought what can', async (t) => {
    const credentials = make(t);
    const secret = Buffer.from('alice@s3cret').toString('base64');
    pull(credentials, APP, 'a', toLogin(auth({ auth: secret })));
    await assert.rejects(ask(credentials), ({ code, message }: Error & { code: string }) => {
      assert.equal(code, 'CONFIG_INVALID');
      assert.match(message, /invalid decoded auth/);
      assert.doesNotMatch(message, /alice|s3cret/);
      assert.ok(!message.includes(secret));
      return true;
    });
    pull(credentials, APP, 'b', login('right'));
    assert.deepEqual(await users(credentials), ['right']);
  });

  it('forgets an image that was removed, under all its names, by name, id and beginning of an id', async (t) => {
    const removals = [
      APP,
      ID,
      ID.slice('sha256:'.length),
      ID.slice(0, 20),
      ID.slice('sha256:'.length, 20),
      'registry.example.com/team-a/app:other',
    ];
    for (const removed of removals) {
      const credentials = make(t);
      pull(credentials, APP, 'a', login('a'), ID);
      pull(credentials, 'registry.example.com/team-a/app:other', 'a', login('a'), ID);
      pull(credentials, TOOL, 'a', login('a'), `sha256:${'cd'.repeat(32)}`);
      credentials.imageRemoved(removed);
      assert.deepEqual(await users(credentials), [], removed);
      assert.deepEqual(await users(credentials, TOOL), ['a'], removed);
      assert.deepEqual(credentials.namespacesOf(parseReference(APP)), []);
    }
  });

  it('keeps all when the removed image is unknown or its id is not told apart', async (t) => {
    const credentials = make(t);
    pull(credentials, APP, 'a', login('a'), ID);
    pull(credentials, TOOL, 'a', login('a'), `sha256:ab${'cd'.repeat(31)}`);
    for (const removed of ['ab', `sha256:${'00'.repeat(32)}`, 'registry.example.com/none', '', 'sha256:', '::', 'Bad/Name'])
      credentials.imageRemoved(removed);
    assert.deepEqual(await users(credentials), ['a']);
    assert.equal(credentials.size, 2);
  });

  it('keeps what a mount still reads until that is gone', async (t) => {
    const mounted = new Set([APP]);
    const credentials = make(t, { isInUse: (reference) => mounted.has(reference) });
    pull(credentials, APP, 'a', login('a'), ID);
    credentials.imageRemoved(ID);
    credentials.sweep();
    assert.deepEqual(await users(credentials), ['a']);
    mounted.clear();
    credentials.sweep();
    assert.deepEqual(await users(credentials), []);
  });

  it('is bounded by count and by age since the last use', async (t) => {
    let nowMs = 1_000;
    const credentials = make(t, { maxEntries: 3, maxAgeMs: 100, nowMs: () => nowMs });
    for (const name of ['a', 'b', 'c', 'd']) pull(credentials, `${HOST}/${name}:1`, 'n', login(name));
    assert.equal(credentials.size, 3);
    assert.deepEqual(await users(credentials, `${HOST}/a:1`), []);
    nowMs += 99;
    assert.deepEqual((await users(credentials, `${HOST}/b:1`))[0], 'b');
    nowMs += 50;
    credentials.sweep();
    assert.equal(credentials.size, 1);
    assert.deepEqual(await users(credentials, `${HOST}/b:1`), ['b']);
  });

  it('has room for ten thousand logins where nothing else is said', (t) => {
    const credentials = make(t);
    for (let pod = 0; pod <= 10_000; pod++) pull(credentials, APP, `ns-${pod}`, login('u', `pw-${pod}`));
    assert.equal(credentials.size, 10_000);
  });

  it('does not take a date that is set ahead for time that has gone by, also over a crash', async (t) => {
    const memory = { sizeBytes: 1 << 20, bytes: Buffer.alloc(1 << 20) };
    const pages = {
      sizeBytes: memory.sizeBytes,
      read: (into: Uint8Array, at: number) => void memory.bytes.copy(into, 0, at, at + into.length),
      write: (from: Uint8Array, at: number): void => {
        memory.bytes.set(from, at);
      },
    };
    const { log } = collectLogs();
    const credentials = make(t, { kept: KeptPulls.create(pages, log) });
    pull(credentials, APP, 'a', login('u'));
    const realMs = Date.now();
    t.mock.timers.enable({ apis: ['Date'], now: realMs + 8 * 24 * 60 * 60_000 });
    credentials.sweep();
    assert.deepEqual(await users(credentials), ['u']);
    const after = make(t, { kept: KeptPulls.open(pages, log) });
    after.sweep();
    const answer = await ask(after);
    assert.ok(answer.kind === 'candidates');
    assert.ok(Math.abs((answer.candidates[0]?.sinceMs ?? 0) - realMs) < 60_000);
  });

  it('tells whose look-up may succeed now, and what is given no more', (t) => {
    const credentials = make(t);
    const changes: SourceChange[] = [];
    const subscription = credentials.onChange((change) => changes.push(change));
    const first = login('a');
    assert.ok(first.kind === 'credential');
    const print = fingerprint(first.credential);
    pull(credentials, APP, 'a', first, ID);
    assert.deepEqual(changes.splice(0), [
      { source: 'cri', hosts: [HOST], withdrawn: [] },
      { source: 'cri', hosts: [HOST], withdrawn: [] },
    ]);
    pull(credentials, APP, 'a', login('a'), ID);
    pull(credentials, APP, 'a', toLogin(undefined), ID);
    assert.deepEqual(changes.splice(0), []);
    pull(credentials, APP, 'b', toLogin(undefined), ID);
    assert.deepEqual(changes.splice(0), [{ source: 'cri', hosts: [HOST], withdrawn: [] }], 'a namespace more');
    const tried = credentials.pullStarted(APP, 'c', toLogin(undefined));
    assert.deepEqual(credentials.namespacesOf(parseReference(APP)), ['a', 'b', 'c']);
    assert.deepEqual(credentials.namespacesOf(parseReference(APP), 'succeeded'), ['a', 'b']);
    tried.failed();
    assert.deepEqual(changes.splice(0), []);
    pull(credentials, TOOL, 'a', login('a'));
    changes.splice(0);
    credentials.imageRemoved(APP);
    assert.deepEqual(changes.splice(0), [], 'another pull still holds it');
    credentials.imageRemoved(TOOL);
    assert.deepEqual(changes.splice(0), [{ source: 'cri', hosts: [HOST], withdrawn: [print] }]);
    subscription[Symbol.dispose]();
    pull(credentials, 'nginx', 'a', login('a'));
    assert.deepEqual(changes, []);
  });

  it('overwrites a secret when its last holder goes, and all of them at the end', () => {
    const credentials = new CriCredentials();
    const first = login('a', 'first');
    const copy = login('a', 'first');
    const second = login('b', 'second');
    assert.ok(first.kind === 'credential' && copy.kind === 'credential' && second.kind === 'credential');
    const bytesOf = ({ credential }: typeof first) =>
      credential.kind === 'basic' ? Buffer.from(credential.password.revealBytes()).toString() : '';
    pull(credentials, APP, 'a', first);
    pull(credentials, TOOL, 'a', copy);
    pull(credentials, TOOL, 'a', second);
    for (let again = 0; again < 2; again++) pull(credentials, 'nginx', 'a', first); // the very object
    credentials.imageRemoved('nginx');
    assert.equal(bytesOf(copy), '\0'.repeat(5), 'one copy is enough');
    credentials.imageRemoved(TOOL);
    assert.equal(bytesOf(first), 'first');
    assert.equal(bytesOf(second), '\0'.repeat(6));
    credentials[Symbol.dispose]();
    assert.equal(bytesOf(first), '\0'.repeat(5));
    assert.equal(credentials.size, 0);
    const late = login('c', 'late');
    assert.ok(late.kind === 'credential');
    credentials.pullStarted('Bad/Name', 'a', late);
    assert.equal(bytesOf(late), '\0'.repeat(4));
  });
});
