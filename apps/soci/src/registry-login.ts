import {
  basic,
  commandLineSource,
  DockerConfigSource,
  dockerConfigPath,
  identityToken,
  StaticSource,
  type CredentialSource,
} from '@soci/keychain';
import { CliError } from './errors.ts';
import type { RegistryOptions } from './options.ts';
import type { Session } from './session.ts';

const MAX_PASSWORD_BYTES = 64 << 10;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/**
 * The login that a command line says: the flags before the Docker config before nothing. What the flags say goes to the image's registry alone, and no message repeats it.
 *
 * @param host the image's registry
 * @throws {CliError} `ARGUMENT_INVALID` for flags that contradict each other
 */
export async function registryLogin(host: string, options: RegistryOptions, session: Session): Promise<CredentialSource> {
  const { user, passwordStdin, refresh } = options;
  const stdinUser = userOfStdin(options);
  if (refresh !== undefined && refresh !== '') return new StaticSource({ name: '--refresh', credential: identityToken(refresh), host });
  if (passwordStdin === true) {
    const password = await readPassword(session);
    const credential = basic(stdinUser, password);
    password.fill(0);
    return new StaticSource({ name: '--password-stdin', credential, host });
  }
  const { environment } = session.host;
  const dockerConfig = new DockerConfigSource({ path: dockerConfigPath(environment), env: environment, log: session.log });
  return commandLineSource({ user, host }, dockerConfig);
}

/** The user that a password from standard input is for; empty where none comes from there. */
function userOfStdin({ user, username, passwordStdin }: RegistryOptions): string {
  if (user !== undefined && username !== undefined) throw new CliError('ARGUMENT_INVALID', 'give --user or --username, not both');
  if (passwordStdin !== true) {
    if (username !== undefined) throw new CliError('ARGUMENT_INVALID', '--username needs --password-stdin');
    return '';
  }
  const name = user ?? username ?? '';
  if (name === '') throw new CliError('ARGUMENT_INVALID', '--password-stdin needs --user or --username with a user name');
  if (name.includes(':')) throw new CliError('ARGUMENT_INVALID', '--password-stdin: --user must be a user name without a password');
  return name;
}

/** All of standard input but one line end. */
async function readPassword({ host, signal }: Session): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of untilAborted(host.stdin, signal)) {
    size += chunk.length;
    if (size > MAX_PASSWORD_BYTES) throw new CliError('ARGUMENT_INVALID', `--password-stdin: more than ${MAX_PASSWORD_BYTES} bytes`);
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  const end = bytes.at(-1) === LINE_FEED ? (bytes.at(-2) === CARRIAGE_RETURN ? size - 2 : size - 1) : size;
  if (end === 0) throw new CliError('ARGUMENT_INVALID', '--password-stdin: standard input holds no password');
  return bytes.subarray(0, end);
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
