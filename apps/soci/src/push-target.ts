import { readFile } from 'node:fs/promises';
import { describeError } from '@soci/errors';
import { ImageReference, parseContainerdReference } from '@soci/image';
import { createRegistryHosts, proxyFromEnv, RegistryClient } from '@soci/registry';
import { CliError } from './errors.ts';
import { DEFAULT_HOSTS_DIR, type RegistryOptions } from './options.ts';
import { registryLogin } from './registry-login.ts';
import type { Session } from './session.ts';

/** A repository that is pushed to, and the client that does it. */
export interface PushTarget extends AsyncDisposable {
  readonly client: RegistryClient;
  /** Host and repository, without tag and digest. */
  readonly repository: ImageReference;
}

/** The repository of an image name, with the credentials and the TLS settings that the flags say. */
export async function openPushTarget(name: string, options: RegistryOptions, session: Session): Promise<PushTarget> {
  const repository = repositoryOf(name);
  const isIt = (host: string): boolean => host.toLowerCase() === repository.host.toLowerCase();
  warnOfIgnored(options, session);
  const client = new RegistryClient({
    credentials: await registryLogin(repository.host, options, session),
    log: session.log,
    proxy: proxyFromEnv(session.host.environment),
    hosts: createRegistryHosts({ configPath: options.hostsDir ?? DEFAULT_HOSTS_DIR, log: session.log }),
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

async function readAuthority(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new CliError('ARGUMENT_INVALID', `--tlscacert: ${describeError(cause)}`, { cause });
  }
}

function warnOfIgnored({ tlscert, tlskey, httpDump, httpTrace }: RegistryOptions, session: Session): void {
  const ignored = Object.entries({ tlscert, tlskey, 'http-dump': httpDump, 'http-trace': httpTrace });
  for (const [name, value] of ignored) if (value !== undefined) session.warn(`--${name} has no effect`);
}
