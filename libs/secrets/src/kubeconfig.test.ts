import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { collectLogs } from '@soci/log';
import { Kubeconfig } from './kubeconfig.ts';

const { signal } = new AbortController();
const { log } = collectLogs();

let folder = '';
let count = 0;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'soci-kubeconfig-'));
});
after(async () => {
  await rm(folder, { recursive: true });
});

interface Written {
  readonly name?: string;
  readonly server?: string;
  readonly cluster?: Readonly<Record<string, unknown>>;
  readonly user?: Readonly<Record<string, unknown>>;
  readonly isCurrent?: boolean;
}

function kubeconfig({ name = 'x', server = 'https://k.example:6443', cluster = {}, user = {}, isCurrent = true }: Written = {}): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server, ...cluster } }],
    users: [{ name, user }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    ...(isCurrent ? { 'current-context': name } : {}),
  });
}

async function write(text: string, { mode = 0o600, path = join(folder, `${count++}.yaml`) } = {}): Promise<string> {
  await writeFile(path, text);
  await chmod(path, mode);
  return path;
}

async function read(path: string, env: Readonly<Record<string, string>> = { HOME: folder }) {
  return await new Kubeconfig({ path, env, log, serviceAccountDirectory: join(folder, 'account') }).read(signal);
}

describe('search for a kubeconfig', () => {
  it('takes the configured path and nothing else', async () => {
    const path = await write(kubeconfig());
    assert.equal((await read(path, { KUBECONFIG: '/not/there' }))?.server.url, 'https://k.example:6443');
    await assert.rejects(read(join(folder, 'none'), { KUBECONFIG: path }), { code: 'KUBECONFIG_MISSING' });
  });

  it('merges the files of $KUBECONFIG: the first to say something wins, missing ones are passed over', async () => {
    const first = await write(kubeconfig({ name: 'a', server: 'https://a.example', isCurrent: false }));
    const second = await write(kubeconfig({ name: 'b', server: 'https://b.example', user: { token: 'of-b' } }));
    const third = await write(kubeconfig({ name: 'b', server: 'https://never.example', user: { token: 'never' } }));
    const target = await read('', { KUBECONFIG: ['/not/there', first, second, third, second].join(':') });
    assert.equal(target?.server.url, 'https://b.example');
    assert.equal(target.user.token?.reveal(), 'of-b');
    assert.equal(target.origin, [first, second, third].join(':'));
  });

  it('falls back to the home directory, then to the service account of a pod', async () => {
    const home = join(folder, 'home');
    const env = { HOME: home, KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
    await assert.rejects(read('', env), { code: 'KUBECONFIG_MISSING', message: /not in a pod/ });
    await mkdir(join(folder, 'account'), { recursive: true });
    await write('token', { path: join(folder, 'account', 'token') });
    const inCluster = await read('', env);
    assert.equal(inCluster?.server.url, 'https://[fd00::1]:443');
    assert.equal(inCluster.user.tokenFile, join(folder, 'account', 'token'));
    await mkdir(join(home, '.kube'), { recursive: true });
    await write(kubeconfig(), { path: join(home, '.kube', 'config') });
    assert.equal((await read('', env))?.server.url, 'https://k.example:6443');
  });

  it('tells what is new, and nothing where nothing is', async () => {
    const path = await write(kubeconfig());
    const subject = new Kubeconfig({ path, env: {}, log });
    assert.ok(await subject.read(signal));
    assert.equal(await subject.read(signal), undefined);
    await write(kubeconfig({ user: { token: 'new' } }), { path });
    assert.equal((await subject.read(signal))?.user.token?.reveal(), 'new');
    await write('{', { path });
    await assert.rejects(subject.read(signal), { code: 'KUBECONFIG_INVALID' });
    await write(kubeconfig({ user: { token: 'new' } }), { path });
    assert.ok(await subject.read(signal));
  });
});

describe('kubeconfig', () => {
  it('refuses a file that others can write, or somebody else owns', async () => {
    const path = await write(kubeconfig(), { mode: 0o620 });
    await assert.rejects(read(path), { code: 'KUBECONFIG_UNTRUSTED' });
    const own = await write(kubeconfig());
    await assert.rejects(new Kubeconfig({ path: own, env: {}, log, owners: [12345] }).read(signal), { code: 'KUBECONFIG_UNTRUSTED' });
  });

  const wrong = [
    { name: 'not YAML', text: 'a: [s3cret', why: /not a kubeconfig file/ },
    { name: 'a list', text: '[]', why: /not a kubeconfig file/ },
    { name: 'empty', text: '', why: /no current context/ },
    { name: 'no current context', text: kubeconfig({ isCurrent: false }), why: /no current context/ },
    { name: 'a cluster that is not there', text: kubeconfig().replace('"cluster":"x"', '"cluster":"y"'), why: /names no cluster/ },
    { name: 'a user that is not there', text: kubeconfig().replace('"user":"x"', '"user":"y"'), why: /names no user/ },
    { name: 'no URL', text: kubeconfig({ server: 'ftp://x' }), why: /not an http or https URL/ },
    { name: 'an unknown proxy', text: kubeconfig({ cluster: { 'proxy-url': 'ftp://u:s3cret@x' } }), why: /proxy-url/ },
    {
      name: 'a login that clients no longer have',
      text: kubeconfig({ user: { 'auth-provider': { name: 'gcp' } } }),
      why: /exec plugin takes its place/,
    },
    { name: 'an exec plugin without version', text: kubeconfig({ user: { exec: { command: 's3cret' } } }), why: /apiVersion/ },
  ];
  for (const { name, text, why } of wrong) {
    it(`is refused: ${name}`, async () => {
      const path = await write(text);
      await assert.rejects(read(path), (error: Error) => why.test(error.message) && !error.message.includes('s3cret'));
    });
  }

  it('reads paths from where the file stands, and all there is of a login', async () => {
    const path = await write(
      kubeconfig({
        server: 'https://k.example/clusters/1/',
        cluster: { 'certificate-authority': 'ca.crt', 'tls-server-name': 'other', 'proxy-url': 'socks5://p:1080' },
        user: {
          tokenFile: 'token',
          'client-certificate-data': Buffer.from('pem').toString('base64'),
          'client-key': '/abs/key',
          username: 'u',
          password: 'p',
          as: 'somebody',
          'as-groups': ['g1', 'g2'],
          exec: {
            apiVersion: 'client.authentication.k8s.io/v1',
            command: './login',
            args: ['a'],
            env: [{ name: 'N', value: 'v' }],
            interactiveMode: 'Never',
          },
        },
      }),
    );
    const { server, user } = (await read(path))!;
    assert.deepEqual(server, {
      url: 'https://k.example/clusters/1',
      authority: { kind: 'file', path: join(folder, 'ca.crt') },
      isInsecure: false,
      serverName: 'other',
      proxyUrl: 'socks5://p:1080',
    });
    assert.equal(user.tokenFile, join(folder, 'token'));
    assert.deepEqual(user.certificate, { kind: 'data', bytes: Buffer.from('pem') });
    assert.deepEqual(user.key, { kind: 'file', path: '/abs/key' });
    assert.equal(user.password?.username, 'u');
    assert.deepEqual(user.impersonation, { 'Impersonate-User': 'somebody', 'Impersonate-Group': ['g1', 'g2'] });
    assert.deepEqual(user.program, {
      command: join(folder, 'login'),
      args: ['a'],
      env: { N: 'v' },
      apiVersion: 'client.authentication.k8s.io/v1',
      wantsServer: false,
    });
  });

  it('is read as YAML', async () => {
    const path = await write(
      'apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {server: "http://127.0.0.1:8001"}\nusers: null\ncontexts:\n- name: x\n  context: {cluster: c}\ncurrent-context: x\n',
    );
    assert.equal((await read(path))?.server.url, 'http://127.0.0.1:8001');
  });
});
