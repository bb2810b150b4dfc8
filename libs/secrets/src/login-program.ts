import { helperEnvironment, plainWords, runProcess, Secret, type ProcessOutcome } from '@soci/keychain';
import { z } from 'zod';
import type { ApiServer, LoginProgram } from './api-target.ts';
import { readPem } from './api-target.ts';
import { SecretsError } from './errors.ts';

/** What a program gave: a token, a certificate with its key, or both. */
export interface ProgramLogin {
  readonly token: Secret | undefined;
  readonly certificate: Buffer | undefined;
  readonly key: Buffer | undefined;
  /** Milliseconds of the wall clock; undefined where it does not end. */
  readonly expiresAtMs: number | undefined;
}

const LIMITS = { timeoutMs: 60_000, maxStdoutBytes: 256 * 1024, maxStderrBytes: 16 * 1024 };

const execCredential = z.object({
  apiVersion: z.string(),
  kind: z.literal('ExecCredential'),
  status: z.object({
    token: z.string().optional(),
    clientCertificateData: z.string().optional(),
    clientKeyData: z.string().optional(),
    expirationTimestamp: z.iso.datetime({ offset: true }).optional(),
  }),
});

/**
 * Runs the login program of a kubeconfig.
 *
 * @param env the service's own environment
 * @throws {SecretsError} `LOGIN_FAILED`; never with what the program printed on its standard output
 * @see https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
 */
export async function runLoginProgram(
  program: LoginProgram,
  server: ApiServer,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
  timeoutMs = LIMITS.timeoutMs,
): Promise<ProgramLogin> {
  const failure = (why: string, cause?: unknown): SecretsError =>
    new SecretsError('LOGIN_FAILED', `login program ${program.command}: ${why}`, cause === undefined ? {} : { cause });
  const environment = {
    ...helperEnvironment(env),
    ...program.env,
    KUBERNETES_EXEC_INFO: JSON.stringify({
      apiVersion: program.apiVersion,
      kind: 'ExecCredential',
      spec: { interactive: false, ...(program.wantsServer ? { cluster: await describeServer(server, signal) } : {}) },
    }),
  };
  let outcome: ProcessOutcome;
  try {
    outcome = await runProcess(program.command, program.args, { input: '', env: environment, limits: { ...LIMITS, timeoutMs } }, signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw failure('cannot be run', cause);
  }
  switch (outcome.kind) {
    case 'missing':
      throw failure('executable file not found in $PATH');
    case 'timeout':
      throw failure(`no answer within ${timeoutMs} ms`);
    case 'too-much-output':
      throw failure(`more than ${LIMITS.maxStdoutBytes} bytes of output`);
    case 'killed':
      throw failure(`killed by ${outcome.by}`);
    case 'exited':
  }
  if (outcome.code !== 0) {
    const words = plainWords(outcome.stderr.toString('utf8'));
    throw failure([`exit status ${outcome.code}`, words].filter((part) => part !== '').join(': '));
  }
  const login = readLogin(outcome.stdout.toString('utf8'), program.apiVersion);
  if (login === undefined) throw failure(`its answer is not an ExecCredential of ${program.apiVersion} with a token or a certificate`);
  return login;
}

function readLogin(text: string, apiVersion: string): ProgramLogin | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // the parser's message quotes what it read
  }
  const { data } = execCredential.safeParse(value);
  if (data?.apiVersion !== apiVersion) return undefined;
  const { token, clientCertificateData, clientKeyData, expirationTimestamp } = data.status;
  const hasCertificate = clientCertificateData !== undefined && clientKeyData !== undefined;
  if (!token && !hasCertificate) return undefined;
  return {
    token: token ? Secret.of(token) : undefined,
    certificate: hasCertificate ? Buffer.from(clientCertificateData) : undefined,
    key: hasCertificate ? Buffer.from(clientKeyData) : undefined,
    expiresAtMs: expirationTimestamp === undefined ? undefined : Date.parse(expirationTimestamp),
  };
}

async function describeServer(server: ApiServer, signal: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
  const authority = await readPem(server.authority, signal);
  return {
    server: server.url,
    ...(server.serverName === undefined ? {} : { 'tls-server-name': server.serverName }),
    ...(server.isInsecure ? { 'insecure-skip-tls-verify': true } : {}),
    ...(server.proxyUrl === undefined ? {} : { 'proxy-url': server.proxyUrl }),
    ...(authority === undefined ? {} : { 'certificate-authority-data': authority.toString('base64') }),
  };
}
