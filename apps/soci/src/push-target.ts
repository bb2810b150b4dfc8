import { readFile } from 'node:fs/promises';
import { describeError } from '@soci/errors';
import { ImageReference, parseContainerdReference } from '@soci/image';
import {
  commandLineSource,
  DockerConfigSource,
  dockerConfigPath,
  identityToken,
  StaticSource,
  type CredentialSource,
} from '@soci/keychain';
import { proxyFromEnv, RegistryClient } from '@soci/registry';
import { CliError } from './errors.ts';
import type { RegistryOptions } from './options.ts';
import type { Session } from './session.ts';

/** A repository that is pushed to, and the client that does it. */
export interface PushTarget extends AsyncDisposable {
  readonly client: RegistryClient;
  /** Host and repository, without tag and digest. */
  readonly repository: ImageReference;
}

const MAX_PASSWORD_BYTES = 64 << 10;

/** The repository of an image name, with the credentials and the TLS settings that the flags say. */
export async function openPushTarget(name: string, options: RegistryOptions, session: Session): Promise<PushTarget> {
  const repository = repositoryOf(name);
  const isIt = (host: string): boolean => host.toLowerCase() === repository.host.toLowerCase();
  warnOfIgnored(options, session);
  const client = new RegistryClient({
    credentials: await credentialsFor(repository.host, options, session),
    log: session.log,
    proxy: proxyFromEnv(session.host.environment),
    plainHttp: (host) => options.plainHttp === true && isIt(host),
    insecureTls: (host) => options.skipVerify === true && isIt(host),
    ...(options.tlscacert === undefined ? {} : { extraCa: [await readAuthority(options.tlscacert)] }),
  });
  return { client, repository, [Symbol.asyncDispose]: () => client[Symbol.asyncDispose]() };
}

/** containerd's reading of a name: whatever stands before the first slash is the host. */
function repositoryOf(name: string): ImageReference {
  const { locator } = parseContainerdReference(name);
  const slash = locator.indexOf('/');
  if (slash < 0) throw new CliError('ARGUMENT_INVALID', `image reference ${JSON.stringify(name)}: no repository`);
  return new ImageReference({ host: locator.slice(0, slash), repository: locator.slice(slash + 1) });
}

/** The flags before the Docker config before nothing; what the flags say goes to the image's registry alone. */
async function credentialsFor(host: string, options: RegistryOptions, session: Session): Promise<CredentialSource> {
  const { environment } = session.host;
  const dockerConfig = new DockerConfigSource({ path: dockerConfigPath(environment), env: environment, log: session.log });
  if (options.refresh !== undefined && options.refresh !== '') {
    return new StaticSource({ name: '--refresh', credential: identityToken(options.refresh), host });
  }
  return commandLineSource({ user: await userFlag(options, session), host }, dockerConfig);
}

async function userFlag({ user, passwordStdin }: RegistryOptions, session: Session): Promise<string | undefined> {
  if (passwordStdin !== true) return user;
  if (user === undefined || user === '' || user.includes(':')) {
    throw new CliError('ARGUMENT_INVALID', '--password-stdin needs --user with a user name alone');
  }
  return `${user}:${await readPassword(session)}`;
}

async function readPassword({ host, signal }: Session): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of untilAborted(host.stdin, signal)) {
    bytes += chunk.length;
    if (bytes > MAX_PASSWORD_BYTES) throw new CliError('ARGUMENT_INVALID', `--password-stdin: more than ${MAX_PASSWORD_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '');
}

/** A terminal or a pipe that nothing comes from must not keep the command from being stopped. */
async function* untilAborted(source: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener('abort', abort);
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), aborted.promise]);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

async function readAuthority(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new CliError('ARGUMENT_INVALID', `--tlscacert: ${describeError(cause)}`, { cause });
  }
}

function warnOfIgnored({ hostsDir, tlscert, tlskey, httpDump, httpTrace }: RegistryOptions, session: Session): void {
  const ignored = Object.entries({ 'hosts-dir': hostsDir, tlscert, tlskey, 'http-dump': httpDump, 'http-trace': httpTrace });
  for (const [name, value] of ignored) if (value !== undefined) session.warn(`--${name} has no effect`);
}
