import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { parseReference } from '@soci/image';
import { collectLogs } from '@soci/log';
import { cri, type ServiceClient } from '@soci/proto';
import { openChannel, serveGrpc, type Channel, type GrpcServer, type RpcError } from '@soci/rpc';
import { Containerd, Registry } from '@soci/testing';
import { createImageServiceProxy, CriCredentials, type ImageServiceProxy } from './index.ts';
import { call, frame, openSession } from './testing/image-service.ts';

/** Folder of another containerd than the installed one, with its ctr. */
const BINARIES = process.env.SOCI_TEST_CONTAINERD;
const LOGIN = { username: 'alice', password: 'correct-horse' };
const signal = new AbortController().signal;

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'containerd needs root';
  for (const program of [BINARIES === undefined ? 'containerd' : join(BINARIES, 'containerd'), 'docker-registry', 'htpasswd']) {
    try {
      execFileSync(program, program === 'htpasswd' ? ['-bn', 'a', 'b'] : ['--version'], { stdio: 'ignore' });
    } catch {
      return `${program} is not installed`;
    }
  }
  return false;
}

describe('image service of containerd, through the proxy', { skip: whyNot() }, () => {
  let resources: AsyncDisposableStack;
  let containerd: Containerd;
  let credentials: CriCredentials;
  let proxy: ImageServiceProxy;
  let server: GrpcServer;
  let direct: Channel;
  let through: Channel;
  let image: string;

  before(async () => {
    await using stack = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'soci-cri-'));
    stack.defer(() => rm(directory, { recursive: true, force: true }));
    for (const name of ['registry', 'containerd']) await mkdir(join(directory, name));
    const registry = stack.use(await Registry.start({ directory: join(directory, 'registry'), login: LOGIN }));
    image = await pushImage(directory, registry.host);
    containerd = stack.use(
      await Containerd.start({ directory: join(directory, 'containerd'), ...(BINARIES === undefined ? {} : { binaries: BINARIES }) }),
    );
    credentials = stack.use(new CriCredentials());
    const { log } = collectLogs();
    proxy = stack.use(createImageServiceProxy({ upstream: { path: containerd.address }, credentials, log }));
    server = stack.use(await serveGrpc({ address: join(directory, 'proxy.sock'), services: [], passThrough: proxy, log, graceMs: 100 }));
    direct = stack.use(openChannel({ address: containerd.address }));
    through = stack.use(openChannel({ address: server.address }));
    resources = stack.move();
  });

  after(() => resources.disposeAsync());

  const images = (channel: Channel): ServiceClient<typeof cri.ImageServiceService> => channel.client(cri.ImageServiceService);
  const spec = () => ({ image: { image } });
  const pull = (login: { username: string; password: string }) =>
    images(through).pullImage(
      cri.PullImageRequest.fromPartial({
        ...spec(),
        auth: login,
        sandboxConfig: { metadata: { name: 'p', uid: 'u', namespace: 'team-a' } },
      }),
      { signal },
    );
  const candidates = async (): Promise<number> => {
    const reference = parseReference(image);
    const found = await credentials.resolve({ host: reference.host, reference, namespaces: [] });
    return found.kind === 'candidates' ? found.candidates.length : 0;
  };

  it('pulls, lists, shows and removes, and answers as containerd does itself', async () => {
    const { imageRef } = await pull(LOGIN);
    assert.match(imageRef, /^sha256:/);
    assert.equal(await candidates(), 1);
    assert.deepEqual(credentials.namespacesOf(parseReference(image)), ['team-a']);

    const list = cri.ListImagesRequest.fromPartial({});
    const listed = await images(through).listImages(list, { signal });
    assert.deepEqual(
      listed.images.map(({ id }) => id),
      [imageRef],
    );
    assert.deepEqual(listed, await images(direct).listImages(list, { signal }));
    const status = cri.ImageStatusRequest.fromPartial({ ...spec(), verbose: true });
    assert.deepEqual(await images(through).imageStatus(status, { signal }), await images(direct).imageStatus(status, { signal }));
    assert.ok((await images(through).imageFsInfo({}, { signal })).imageFilesystems.length > 0);

    // As the kubelet's garbage collector does it.
    await images(through).removeImage(cri.RemoveImageRequest.fromPartial({ image: { image: imageRef } }), { signal });
    assert.equal(await candidates(), 0);
    assert.deepEqual((await images(through).listImages(list, { signal })).images, []);
  });

  it('gives the caller containerd’s own word for what failed, and keeps no credential of it', async () => {
    const wrong = { username: 'alice', password: 'wrong' };
    const request = cri.PullImageRequest.fromPartial({ ...spec(), auth: wrong });
    const failureOf = (channel: Channel): Promise<RpcError> =>
      images(channel)
        .pullImage(request, { signal })
        .then(
          () => assert.fail('a wrong password was good enough'),
          (error: unknown) => error as RpcError,
        );
    const [viaProxy, itself] = [await failureOf(through), await failureOf(direct)];
    assert.equal(viaProxy.code, itself.code);
    assert.equal(viaProxy.message, itself.message);
    assert.equal(credentials.size, 0);
    await assert.rejects(
      images(through).pullImage(cri.PullImageRequest.fromPartial({ image: { image: 'Bad/Name' } }), { signal }),
      /Bad\/Name|lowercase|invalid/i,
    );
  });

  it('has containerd answer for methods that nobody knows, in both versions', async (t) => {
    const session = openSession(t, server);
    for (const path of [
      '/runtime.v1.ImageService/FromTheFuture',
      '/runtime.v1beta9.ImageService/PullImage',
      '/runtime.v1.RuntimeService/Version',
    ])
      assert.equal((await call(session, path, frame(Buffer.alloc(0)))).status, '12', path);
    const alpha = await call(session, '/runtime.v1alpha2.ImageService/ListImages', frame(Buffer.alloc(0)));
    assert.equal(alpha.status, containerd.majorVersion >= 2 ? '12' : '0');
  });

  it('tells of a containerd that is away at once, and goes on when it is back', async () => {
    const ask = (deadlineMs: number) => images(through).listImages(cri.ListImagesRequest.fromPartial({}), { signal, deadlineMs });
    await ask(5_000);
    for (const [stop, downMs] of [
      ['SIGTERM', 1_000],
      ['SIGKILL', 1_000],
    ] as const) {
      await containerd.stop(stop);
      const startedMs = performance.now();
      await assert.rejects(ask(5_000), { code: 'UNAVAILABLE' });
      await assert.rejects(pull(LOGIN), { code: 'UNAVAILABLE' });
      assert.ok(performance.now() - startedMs < downMs);
      assert.equal(credentials.size, 0);
      await containerd.startAgain();
      await ask(5_000);
    }
    await pull(LOGIN);
    assert.equal(await candidates(), 1);
  });
});

/** Pushes an image of one small layer. @returns its name */
async function pushImage(directory: string, host: string): Promise<string> {
  const root = join(directory, 'rootfs');
  await mkdir(root);
  await writeFile(join(root, 'hello'), 'hello\n');
  const tar = execFileSync('tar', ['--create', '--directory', root, '--owner=0', '--group=0', '.']);
  const layer = gzipSync(tar);
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
    }),
  );
  const describeBlob = (mediaType: string, blob: Buffer) => ({ mediaType, digest: digestOf(blob), size: blob.length });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: describeBlob('application/vnd.oci.image.config.v1+json', config),
    layers: [describeBlob('application/vnd.oci.image.layer.v1.tar+gzip', layer)],
  });
  const authorization = `Basic ${Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString('base64')}`;
  const repository = `http://${host}/v2/team-a/app`;
  const ask = async (url: string | URL, init: Omit<RequestInit, 'headers'>, type?: string): Promise<Response> => {
    const response = await fetch(url, { ...init, headers: { authorization, ...(type === undefined ? {} : { 'content-type': type }) } });
    assert.ok(response.ok, `${response.status} for ${String(url)}`);
    return response;
  };
  for (const blob of [layer, config]) {
    const { headers } = await ask(`${repository}/blobs/uploads/`, { method: 'POST' });
    const upload = new URL(headers.get('location') ?? '', repository);
    upload.searchParams.set('digest', digestOf(blob));
    await ask(upload, { method: 'PUT', body: new Uint8Array(blob) }, 'application/octet-stream');
  }
  await ask(`${repository}/manifests/1`, { method: 'PUT', body: manifest }, 'application/vnd.oci.image.manifest.v1+json');
  return `${host}/team-a/app:1`;
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
