import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { KubeStandIn } from '@soci/testing';
import { kubeconfigFor, Subject } from './testing/subject.ts';

const FOLLOWER = 'follower';

interface Config {
  readonly clusters: [{ cluster: Record<string, unknown> }];
  readonly users: [{ user: Record<string, unknown> }];
}

describe('following with the kubeconfig of the time', () => {
  let directory: string;
  let api: KubeStandIn;
  let other: KubeStandIn;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'soci-sync-'));
    const servers: KubeStandIn[] = [];
    for (const name of ['first', 'second']) {
      const folder = join(directory, name);
      await mkdir(folder);
      const server = await KubeStandIn.start({ directory: folder, users: [FOLLOWER] });
      await server.grant(FOLLOWER, { resources: ['secrets'], verbs: ['list', 'watch'] });
      await server.putPullSecret('default', 'pull', { [`${name}.example`]: 'alice:c4nary' });
      servers.push(server);
    }
    [api, other] = servers as [KubeStandIn, KubeStandIn];
  });
  after(async () => {
    for (const server of [api, other]) await server[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });

  const edited = (edit: (config: Config) => void): Promise<string> => {
    return kubeconfigFor(directory, api.kubeconfig(FOLLOWER), api.url, (text) => {
      const config = JSON.parse(text) as Config;
      edit(config);
      return JSON.stringify(config);
    });
  };

  it('fails while others can write the kubeconfig, and goes on when they no longer can', async () => {
    const kubeconfig = await edited(() => undefined);
    await using subject = new Subject({ kubeconfigPath: kubeconfig });
    await subject.expects('first.example', ['alice']);
    await chmod(kubeconfig, 0o622);
    const untrusted = `KeychainError: kubernetes-secrets: kubeconfig ${kubeconfig} is not to be trusted`;
    await subject.expects('first.example', untrusted);
    assert.equal(subject.sync.state.kind, 'failed');
    await chmod(kubeconfig, 0o600);
    await subject.expects('first.example', ['alice']);
    assert.equal(subject.sync.state.kind, 'synced');
    assert.equal(subject.logged('not usable'), 1);
  });

  it('forgets one cluster when the kubeconfig names another', async () => {
    const kubeconfig = await edited(() => undefined);
    await using subject = new Subject({ kubeconfigPath: kubeconfig });
    await subject.expects('first.example', ['alice']);
    const changes: (readonly string[])[] = [];
    subject.source.onChange(({ withdrawn }) => changes.push(withdrawn));
    await rename(await kubeconfigFor(directory, other.kubeconfig(FOLLOWER), other.url), kubeconfig);
    await subject.expects('second.example', ['alice']);
    assert.deepEqual(await subject.users('first.example'), 'none');
    assert.equal(changes[0]?.length, 1);
  });

  it('tells each change of state once', async () => {
    const kubeconfig = join(directory, 'appears');
    await using subject = new Subject({ kubeconfigPath: kubeconfig });
    const kinds: string[] = [];
    subject.sync.onChange(({ kind }) => kinds.push(kind));
    await subject.expects('first.example', 'none');
    await rename(await edited(() => undefined), kubeconfig);
    await subject.expects('first.example', ['alice']);
    assert.deepEqual(kinds, ['off', 'syncing', 'synced']);
  });

  it('checks the certificate, by another name where the kubeconfig says so, or not at all', async () => {
    const ways = [
      { cluster: { 'certificate-authority': undefined }, want: 'not-ready' },
      { cluster: { 'tls-server-name': 'not.the.server' }, want: 'not-ready' },
      { cluster: { 'certificate-authority': undefined, 'insecure-skip-tls-verify': true }, want: ['alice'] },
    ];
    for (const { cluster, want } of ways) {
      const kubeconfig = await edited(({ clusters }) => Object.assign(clusters[0].cluster, cluster));
      await using subject = new Subject({ kubeconfigPath: kubeconfig });
      if (want === 'not-ready') await subject.counts('soci_secrets_errors_total{code="UNREACHABLE"}', 2);
      await subject.expects('first.example', want);
      assert.equal(subject.logged('certificate of the kubernetes api is not checked'), want === 'not-ready' ? 0 : 1);
    }
  });

  it('connects through the proxy that the kubeconfig names', async (t) => {
    const proxy = await startProxy(t);
    const kubeconfig = await edited(({ clusters }) => Object.assign(clusters[0].cluster, { 'proxy-url': proxy.url }));
    await using subject = new Subject({ kubeconfigPath: kubeconfig });
    await subject.expects('first.example', ['alice']);
    assert.ok(proxy.targets.length > 0);
    assert.ok(proxy.targets.every((target) => target === new URL(api.url).host));
  });

  it('says nothing of tokens and passwords, at any level', async () => {
    const kubeconfig = await edited(({ users }) => Object.assign(users[0].user, { token: 'c4nary-refused' }));
    await using subject = new Subject({ kubeconfigPath: kubeconfig });
    await subject.counts('soci_secrets_errors_total{code="UNAUTHORIZED"}', 2);
    await rename(await edited(() => undefined), kubeconfig);
    await subject.expects('first.example', ['alice']);
    for (const secret of ['c4nary', Buffer.from('alice:c4nary').toString('base64'), api.token(FOLLOWER)])
      assert.equal(subject.logged(secret), 0);
    assert.equal(JSON.stringify(subject.sync.state).includes('c4nary'), false);
  });

  it('follows on when a kubeconfig that cannot be understood is mended', async () => {
    const kubeconfig = await edited(({ users }) => Object.assign(users[0].user, { token: 12_345_678 }));
    await using subject = new Subject({ kubeconfigPath: kubeconfig });
    await subject.expects('first.example', 'none');
    assert.match(subject.sync.state.problem ?? '', /users\.0\.user\.token/);
    assert.equal(subject.logged('12345678'), 0);
    await rename(await edited(() => undefined), kubeconfig);
    await subject.expects('first.example', ['alice']);
  });

  it('tries a watch again, with what its login says by then, when that is no longer accepted', async (t) => {
    let accepted = 'one';
    const seen: string[] = [];
    const server = createServer((request, response) => {
      const isWatch = request.url?.includes('watch=true') === true;
      const isAccepted = request.headers.authorization === `Bearer ${accepted}`;
      seen.push(`${isWatch ? 'watch' : 'list'} ${isAccepted ? 'accepted' : 'refused'}`);
      response.writeHead(isAccepted ? 200 : 401).flushHeaders();
      if (!isAccepted) response.end('{"kind":"Status","code":401}');
      else if (!isWatch) response.end('{"metadata":{"resourceVersion":"10"},"items":[]}');
      else setTimeout(() => response.end(), accepted === 'one' ? 1_100 : 60_000).unref();
    }).listen(0, '127.0.0.1');
    t.after(() => {
      server.close();
      server.closeAllConnections();
    });
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const tokenFile = join(directory, 'token');
    await writeFile(tokenFile, 'one');
    const kubeconfig = await edited(({ clusters, users }) => {
      clusters[0].cluster = { server: url };
      users[0].user = { tokenFile };
    });
    await using subject = new Subject({ kubeconfigPath: kubeconfig });
    const watches = async (count: number): Promise<void> => {
      const untilMs = performance.now() + 8_000;
      while (seen.filter((one) => one === 'watch accepted').length < count) {
        assert.ok(performance.now() < untilMs, seen.join());
        await sleep(20);
      }
    };
    await watches(2);
    accepted = 'two';
    await subject.counts('soci_secrets_errors_total{code="UNAUTHORIZED"}', 2);
    await writeFile(tokenFile, 'two');
    await watches(4);
    assert.equal(seen.filter((one) => one.startsWith('list')).length, 2, 'what was seen of the secrets holds');
    assert.equal(subject.logged('a right is missing'), 0);
  });

  it('does not load the library for kubeconfigs before there is one', async () => {
    const index = new URL('./index.ts', import.meta.url).href;
    const program = `await import(${JSON.stringify(index)}); process.stdout.write(String(process.memoryUsage().rss));`;
    const importAll = `${program} await import('@kubernetes/client-node'); process.stdout.write(' ' + process.memoryUsage().rss);`;
    const args = ['--conditions=@soci/source', '--input-type=module', '-e', importAll];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: import.meta.dirname });
    const [without = 0, withIt = 0] = stdout.split(' ').map(Number);
    assert.ok(withIt - without > 20e6, stdout);
  });
});

/** A proxy that tunnels by CONNECT. */
async function startProxy(t: TestContext): Promise<{ readonly url: string; readonly targets: readonly string[] }> {
  const targets: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer().listen(0, '127.0.0.1');
  server.on('connect', (request: IncomingMessage, client: Socket) => {
    targets.push(request.url ?? '');
    const target = connect(Number(request.url?.split(':')[1]), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      client.pipe(target).pipe(client);
    });
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => [client, target].forEach((end) => end.destroy()));
    }
  });
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, targets };
}
