import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { describeError } from '@soci/errors';
import { parseReference } from '@soci/image';
import { Cri, FaultProxy, freePort, Registry, TokenServer, type TokenLogin } from '@soci/testing';
import { pushLayout } from '../image/push.ts';
import { Canaries } from './canary.ts';
import { criConfig, NO_BACKGROUND_FETCH } from './credential-config.ts';
import { confess, writeHelper } from './credential-helper.ts';
import { makePlugin, pluginConfig } from './credential-plugin.ts';
import { secretsConfig, startKube, SYNC_USER } from './kube.ts';
import { makeManyImages } from './many-images.ts';
import { lazyLayers } from './mounts.ts';
import { LOGIN, program, scratchFolder, Stack } from './stack.ts';

const run = promisify(execFile);
const SECRET_TYPE = 'kubernetes.io/dockerconfigjson';

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

describe('secrets of every source', () => {
  it('are in no log, metric, error, answer of the admin socket, file, argument or environment of a helper', {
    timeout: 240_000,
  }, async () => {
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    const canaries = new Canaries();
    const make = (name: string): string => canaries.make(name);
    const passwords = {
      docker: make('password in config.json'),
      helper: make('password of a helper'),
      kubelet: make('password of a kubelet'),
      secret: make('password in a secret'),
      plugin: make('password of a plugin'),
    };
    const seenOfHelpers = join(directory, 'seen-of-helpers');
    const helpers = join(directory, 'helpers');
    const metricsAddress = `127.0.0.1:${await freePort()}`;
    const adminAddress = join(directory, 'admin.sock');
    const kube = resources.use(await startKube(join(directory, 'kube')));
    canaries.add('token for the Kubernetes API', kube.token(SYNC_USER));
    const tokens = resources.use(await TokenServer.start({ directory: join(directory, 'tokens'), users: { alice: LOGIN.password } }));
    const tokenRegistry = resources.use(await Registry.start({ directory: join(directory, 'token-registry'), tokens }));
    const identityTokens = { docker: make('identity token in config.json'), kubelet: make('identity token of a kubelet') };
    for (const [user, token] of Object.entries(identityTokens)) tokens.identityTokens.set(token, user);
    const variable = JSON.stringify({ auths: { 'unused.example': { auth: base64(`user:${make('password in DOCKER_AUTH_CONFIG')}`) } } });
    await using stack = await Stack.start({
      logins: passwords,
      dockerLogin: null,
      logLevel: 'trace',
      env: { DOCKER_AUTH_CONFIG: variable, PATH: `${helpers}:${process.env['PATH'] ?? ''}` },
      config: async (place) => {
        const plugin = await makePlugin(directory, place.host, confess(seenOfHelpers));
        await plugin.setLogin({ username: 'plugin', password: passwords.plugin });
        const addresses = `metrics_address = "${metricsAddress}"\n[admin]\naddress = "${adminAddress}"\n`;
        return addresses + NO_BACKGROUND_FETCH + criConfig(place) + secretsConfig(kube.kubeconfig(SYNC_USER)) + pluginConfig(plugin);
      },
    });
    using kubelet = new Cri(stack.snapshotter.address);

    // The same registries under many names: each has its login in another place, or what looks like one.
    const another = async (registry: Registry): Promise<string> => resources.use(await FaultProxy.start(registry.host)).host;
    const hosts = {
      plugin: stack.proxy.host,
      docker: await another(stack.registry),
      helper: await another(stack.registry),
      kubelet: await another(stack.registry),
      secret: await another(stack.registry),
      dockerToken: await another(tokenRegistry),
      kubeletToken: await another(tokenRegistry),
      brokenHelper: await another(stack.registry),
      wrongSecret: await another(stack.registry),
      wrongKubelet: await another(stack.registry),
      brokenKubelet: await another(stack.registry),
      registryToken: await another(stack.registry),
    };
    await mkdir(helpers);
    const before = confess(seenOfHelpers);
    const answer = JSON.stringify({ ServerURL: hosts.helper, Username: 'helper', Secret: passwords.helper });
    await writeHelper({ folder: helpers, name: 'good', answer, before });
    await writeHelper({ folder: helpers, name: 'broken', answer: make('output of a helper that fails'), exitStatus: 1, before });
    const dockerConfig = {
      auths: {
        [hosts.docker]: { auth: base64(`docker:${passwords.docker}`) },
        [hosts.dockerToken]: { auth: base64('00000000-0000-0000-0000-000000000000:'), identitytoken: identityTokens.docker },
        'broken.example': { auth: make('auth that is no base64') },
      },
      credHelpers: { [hosts.helper]: 'good', [hosts.brokenHelper]: 'broken' },
    };
    const dockerConfigText = JSON.stringify(dockerConfig);
    await writeFile(join(stack.snapshotter.home, '.docker', 'config.json'), dockerConfigText, { mode: 0o600 });
    await kube.putPullSecret('default', 'right', { [hosts.secret]: `secret:${passwords.secret}` });
    await kube.putPullSecret('default', 'wrong', { [hosts.wrongSecret]: `secret:${make('wrong password in a secret')}` });
    const withoutColon = { auths: { [hosts.wrongSecret]: { auth: base64(make('auth of a secret without a colon')) } } };
    await kube.request('POST', '/api/v1/namespaces/default/secrets', {
      metadata: { name: 'broken' },
      type: SECRET_TYPE,
      data: { '.dockerconfigjson': base64(JSON.stringify(withoutColon)) },
    });

    const layouts = await makeManyImages(join(directory, 'images'), Object.keys(hosts).length);
    const references: Record<string, string> = {};
    for (const [number, [name, host]] of Object.entries(hosts).entries()) {
      const registry = name === 'dockerToken' || name === 'kubeletToken' ? tokenRegistry : stack.registry;
      await pushLayout(layouts[number] ?? '', parseReference(`${registry.host}/leaks/${name.toLowerCase()}:1`), LOGIN);
      references[name] = `${host}/leaks/${name.toLowerCase()}:1`;
    }
    const reference = (name: keyof typeof hosts): string => references[name] ?? '';
    for (const name of ['plugin', 'docker', 'helper', 'secret', 'dockerToken'] as const) await stack.pull(reference(name));
    await kubelet.pullImage(reference('kubelet'), { username: 'kubelet', password: passwords.kubelet });
    await kubelet.pullImage(reference('kubeletToken'), { identityToken: identityTokens.kubelet });
    assert.equal(await lazyLayers(stack.directory), 7, 'every source was in use');
    for (const name of ['brokenHelper', 'wrongSecret'] as const) await stack.pull(reference(name));
    assert.equal(await lazyLayers(stack.directory), 7);
    const errors: string[] = [];
    const refused = async (name: keyof typeof hosts, login: TokenLogin): Promise<void> => {
      await assert.rejects(kubelet.pullImage(reference(name), login), (error) => errors.push(describeError(error)) > 0);
    };
    await refused('wrongKubelet', { auth: base64(`kubelet:${make('wrong password of a kubelet')}`) });
    await refused('registryToken', { registryToken: make('registry token of a kubelet') });
    // What containerd itself says of an auth without a colon quotes it: that answer is passed on to who sent it, and looked at no further.
    await assert.rejects(kubelet.pullImage(reference('brokenKubelet'), { auth: base64(make('auth of a kubelet without a colon')) }));

    const told: Record<string, string> = { errors: errors.join('\n') };
    const ask = (...args: readonly string[]): Promise<string> => output(['credentials', '--admin-address', adminAddress, ...args]);
    for (const name of ['plugin', 'docker', 'dockerToken', 'kubelet', 'wrongSecret', 'brokenHelper'] as const)
      told[`soci credentials --json, ${name}`] = await ask('--json', reference(name));
    told['soci credentials'] = await ask(reference('helper'));
    for (const [number, token] of tokens.issued.entries()) canaries.add(`access token ${number}`, token.split('.')[2] ?? token);
    told['metrics'] = await (await fetch(`http://${metricsAddress}/metrics`)).text();
    told['arguments of the service'] = await argumentsBelow(stack.snapshotter.pid);
    await stack.snapshotter.stop();
    told['log'] = await readFile(stack.snapshotter.logPath, 'utf8');
    told['arguments and environment of helpers'] = await readFile(seenOfHelpers, 'utf8');
    for (const path of await filesBelow(join(stack.directory, 'snapshotter', 'soci'))) told[path] = await readFile(path, 'latin1');

    assert.deepEqual(canaries.foundIn(dockerConfigText).toSorted(), [
      'auth that is no base64',
      'identity token in config.json',
      'password in config.json',
    ]);
    assert.match(told['metrics'], /soci/);
    assert.match(told['arguments and environment of helpers'], /docker-credential-broken[^]*HOME=/);
    for (const [where, text] of Object.entries(told)) assert.deepEqual(canaries.foundIn(text), [], where);
  });
});

/** What `soci` prints, whether it succeeds or not. */
async function output(args: readonly string[]): Promise<string> {
  try {
    const { stdout, stderr } = await run(program('soci', 'soci'), args);
    return stdout + stderr;
  } catch (error) {
    const { stdout, stderr } = error as { readonly stdout: string; readonly stderr: string };
    return stdout + stderr;
  }
}

async function argumentsBelow(pid: number): Promise<string> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ');
  const pids = [String(pid), ...children.filter((child) => child !== '')];
  return (await Promise.all(pids.map((each) => readFile(`/proc/${each}/cmdline`, 'utf8')))).join('\n');
}

/** Files that are not in a mount. */
async function filesBelow(folder: string): Promise<readonly string[]> {
  const { stdout } = await run('find', [folder, '-xdev', '-type', 'f', '-print0']);
  return stdout.split('\0').filter((path) => path !== '');
}
