import { execFile } from 'node:child_process';
import { appendFile, copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Child, Containerd, KubeApi, missingKubePrograms } from '@soci/testing';
import { makeSmallImage } from './small-image.ts';
import { LOGIN, program, ROOT, scratchFolder } from './stack.ts';

const run = promisify(execFile);

/** The image of the documents. */
export const IMAGE = 'registry.example.com/team/app:1';

/** An address of this machine that no other test listens on. */
const REGISTRY_ADDRESS = '127.77.0.1';
const REGISTRY_HOSTS = ['registry.example.com', 'mirror.example.com'];
const SNAPSHOTTER_SOCKET = '/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock';
const ADMIN_SOCKET = '/run/soci-snapshotter-grpc/admin.sock';
/** Whatever the documents name below these is written to a copy that goes with the node. */
const COPIED_FOLDERS = ['/etc', '/usr/local', '/var/lib'];
const STATE = '/var/lib/soci-snapshotter-grpc';
/** More than `soci create` leaves without a zTOC by default. */
const LAYER_BYTES = 11 << 20;
const COMMAND_TIMEOUT_MS = 120_000;

/**
 * A machine as the documents speak of it: `registry.example.com` answers with TLS and wants a login, containerd and the services are at their usual places, files lie in `/etc`.
 * It needs a mount namespace of its own.
 */
export class DocumentedNode implements AsyncDisposable {
  /** Undefined where no API server can be started. */
  readonly kube: KubeApi | undefined;
  readonly #directory: string;
  readonly #resources: AsyncDisposableStack;
  #service: Child | undefined;

  private constructor(directory: string, kube: KubeApi | undefined, resources: AsyncDisposableStack) {
    this.#directory = directory;
    this.kube = kube;
    this.#resources = resources;
  }

  static async start(): Promise<DocumentedNode> {
    await refuseOutsideNamespaces();
    await using resources = new AsyncDisposableStack();
    const directory = await scratchFolder(resources);
    for (const folder of COPIED_FOLDERS) await mountCopy(folder, join(directory, 'copies', folder), resources);
    await mount(['--bind', await folderAt(join(directory, 'state')), await folderAt(STATE)], STATE, resources);
    await folderAt(join(directory, 'home'));
    await writeFile(join(await folderAt(join(directory, 'work')), 'password.txt'), `${LOGIN.password}\n`, { mode: 0o600 });
    await appendFile('/etc/hosts', `${REGISTRY_ADDRESS} ${REGISTRY_HOSTS.join(' ')}\n`);
    await makeCertificate(join(directory, 'tls'));
    resources.use(await startRegistry(directory));
    const kubeFolder = await folderAt(join(directory, 'kube'));
    const kube = missingKubePrograms() === undefined ? resources.use(await startKube(kubeFolder)) : undefined;
    const containerd = resources.use(await Containerd.start({ directory: '/run/containerd', snapshotterAddress: SNAPSHOTTER_SOCKET }));
    await importImage(containerd, join(directory, 'image'));
    const node = new DocumentedNode(directory, kube, resources.move());
    try {
      await node.restart();
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
    return node;
  }

  /** Starts the service, again where it runs, with what the configuration is then. */
  async restart(): Promise<void> {
    await this.#service?.stop();
    const service = new Child(program('agent', 'soci-snapshotter-grpc'), [], {
      logPath: join(this.#directory, 'service.log'),
      env: this.#environment(),
      cwd: '/',
    });
    this.#service = service;
    await service.ready(async () => (await answers(SNAPSHOTTER_SOCKET)) && (await answers(ADMIN_SOCKET)));
  }

  /** Writes a file that a document shows, at the place where it says. */
  async write(path: string, content: string): Promise<void> {
    await mkdir(dirname(path), { recursive: true });
    await rm(path, { force: true });
    await writeFile(path, content, { mode: 0o600 });
  }

  /** Runs a script as root does at a prompt. @returns what it printed; a failure is thrown with it */
  async shell(script: string): Promise<string> {
    const options = { env: this.#environment(), cwd: join(this.#directory, 'work'), timeout: COMMAND_TIMEOUT_MS };
    const { stdout, stderr } = await run('sh', ['-eu', '-c', script], options);
    return stdout + stderr;
  }

  /** Whether a program can be run in `shell`. */
  async has(name: string): Promise<boolean> {
    return (await this.shell(`command -v ${name} || true`)) !== '';
  }

  serviceLog(): Promise<string> {
    return readFile(join(this.#directory, 'service.log'), 'utf8');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#service?.stop();
    await this.#resources.disposeAsync();
  }

  #environment(): Readonly<Record<string, string>> {
    const authority = join(this.#directory, 'tls', 'ca.pem');
    const folders = [join(ROOT, 'node_modules', '.bin'), process.env.SOCI_TEST_CONTAINERD, process.env.SOCI_TEST_KUBE, process.env.PATH];
    return {
      PATH: folders.filter((folder) => folder !== undefined && folder !== '').join(':'),
      HOME: join(this.#directory, 'home'),
      SSL_CERT_FILE: authority,
      NODE_EXTRA_CA_CERTS: authority,
      ...(this.kube === undefined ? {} : { KUBECONFIG: this.kube.adminKubeconfig }),
    };
  }
}

/** Outside of its namespaces this would change the machine itself. The first process in there is the one that runs tests. */
async function refuseOutsideNamespaces(): Promise<void> {
  const first = await readFile('/proc/1/cmdline', 'utf8');
  if (!first.includes('--test')) throw new Error('run this by tools/in-namespaces.sh');
}

async function mountCopy(folder: string, copy: string, resources: AsyncDisposableStack): Promise<void> {
  const [upper, work] = [await folderAt(join(copy, 'upper')), await folderAt(join(copy, 'work'))];
  await mount(['-t', 'overlay', 'overlay', '-o', `lowerdir=${folder},upperdir=${upper},workdir=${work}`, folder], folder, resources);
}

async function mount(args: readonly string[], target: string, resources: AsyncDisposableStack): Promise<void> {
  await run('mount', args);
  resources.defer(async () => {
    await run('umount', ['-l', target]);
  });
}

async function folderAt(path: string): Promise<string> {
  await mkdir(path, { recursive: true });
  return path;
}

async function makeCertificate(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const at = (name: string): string => join(directory, name);
  const openssl = (...args: readonly string[]) => run('openssl', args);
  await openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=test',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.pem'),
  );
  await openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=registry', '-keyout', at('server.key'), '-out', at('server.csr'));
  await writeFile(at('names'), `subjectAltName=${REGISTRY_HOSTS.map((host) => `DNS:${host}`).join(',')}\n`);
  const signed = ['-req', '-in', at('server.csr'), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2'];
  await openssl('x509', ...signed, '-extfile', at('names'), '-out', at('server.pem'));
}

async function startRegistry(directory: string): Promise<Child> {
  const passwords = join(directory, 'htpasswd');
  await run('htpasswd', ['-Bbc', '-C', '5', passwords, LOGIN.username, LOGIN.password]);
  const tls = { certificate: join(directory, 'tls', 'server.pem'), key: join(directory, 'tls', 'server.key') };
  const config = {
    version: '0.1',
    log: { level: 'info', accesslog: { disabled: false } },
    storage: { filesystem: { rootdirectory: await folderAt(join(directory, 'registry')) } },
    http: { addr: `${REGISTRY_ADDRESS}:443`, tls },
    auth: { htpasswd: { realm: 'test', path: passwords } },
  };
  await writeFile(join(directory, 'registry.yml'), JSON.stringify(config));
  const child = new Child('docker-registry', ['serve', join(directory, 'registry.yml')], { logPath: join(directory, 'registry.log') });
  return await child.ready(() => answers(443, REGISTRY_ADDRESS));
}

/** An API server whose authority is where nodes keep it. */
async function startKube(directory: string): Promise<KubeApi> {
  const kube = await KubeApi.start({ directory });
  const [, authority = ''] = /certificate-authority"?: *"?([^",\s]+)/.exec(await readFile(kube.adminKubeconfig, 'utf8')) ?? [];
  await copyFile(authority, join(await folderAt('/etc/kubernetes/pki'), 'ca.crt'));
  return kube;
}

/** Puts the documents' image into the namespace that `soci` works in. */
async function importImage(containerd: Containerd, directory: string): Promise<void> {
  const layout = await makeSmallImage(directory, [[{ path: 'data', sizeBytes: LAYER_BYTES }]]);
  const archive = join(directory, 'image.tar');
  await run('tar', ['-C', layout, '-cf', archive, '.']);
  await containerd.ctr(['images', 'import', '--no-unpack', '--index-name', IMAGE, archive], { namespace: 'default' });
}

function answers(...where: readonly [path: string] | readonly [port: number, host: string]): Promise<boolean> {
  return new Promise((resolve) => {
    const [at, host] = where;
    const socket = typeof at === 'string' ? connect({ path: at }) : connect({ port: at, host: host ?? '' });
    const finish = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => finish(true));
    socket.once('error', () => finish(false));
  });
}
