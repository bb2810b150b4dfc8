import { request as plainRequest, Agent as PlainAgent } from 'node:http';
import { request as secureRequest, Agent as SecureAgent, type RequestOptions } from 'node:https';
import { getCACertificates } from 'node:tls';
import { describeError, hasCode } from '@soci/errors';
import { createRegistryHosts, isPlainHttpByDefault, RegistryError, RegistryHost, type RegistryHosts } from '@soci/registry';
import type { DoctorContext } from './doctor-context.ts';
import { knownRegistries } from './known-registries.ts';

/** A registry, and what those that are asked for it came to: its mirrors in their order, itself last. */
export interface RegistryProbe {
  /** As image names have it: `docker.io`. */
  readonly registry: string;
  readonly hosts: readonly HostProbe[];
  /** Why it is not known whom to ask. */
  readonly error?: string;
}

export type HostProbe = HostAnswer | HostFailure;

export interface HostAnswer {
  readonly kind: 'answer';
  readonly host: string;
  readonly url: string;
  readonly status: number;
  readonly tookMs: number;
  /** How far this machine's clock is ahead of the registry's; to the second. */
  readonly skewMs: number | undefined;
}

export interface HostFailure {
  readonly kind: 'failed';
  readonly host: string;
  readonly reason: string;
  readonly cure: string;
  readonly skewMs: undefined;
}

const DEADLINE_MS = 5_000;
const HUB = 'docker.io';
const HUB_API = 'registry-1.docker.io';

/** Asks all registries at the same time, without a login. */
export async function probeRegistries(context: DoctorContext, signal: AbortSignal): Promise<readonly RegistryProbe[]> {
  const config = await context.config().then(
    (loaded) => loaded.config,
    () => undefined, // the check of the configuration says so
  );
  const { log } = context.options;
  const { configPath = '', host: mirrors = {} } = config?.resolver ?? {};
  const hosts = createRegistryHosts({ configPath, mirrors, log });
  const names = await knownRegistries(context, { configPath, mirrors: Object.keys(mirrors) }, signal);
  return Promise.all(names.map((name) => probeRegistry(name, hosts, context, signal)));
}

async function probeRegistry(registry: string, hosts: RegistryHosts, context: DoctorContext, signal: AbortSignal): Promise<RegistryProbe> {
  const api = registry === HUB ? HUB_API : registry;
  const url = URL.parse(`${isPlainHttpByDefault(api) ? 'http' : 'https'}://${api}/v2/`);
  if (url === null) return { registry, hosts: [], error: 'not a host, with its port if any' };
  try {
    const all = await hosts.hostsFor(registry, new RegistryHost({ base: url, credentialHost: api }), signal);
    return { registry, hosts: await Promise.all(all.map((host) => probeHost(host, registry, context, signal))) };
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    return { registry, hosts: [], error: describeError(error) };
  }
}

async function probeHost(host: RegistryHost, registry: string, context: DoctorContext, signal: AbortSignal): Promise<HostProbe> {
  const name = host.name === HUB_API && registry === HUB ? HUB : host.name;
  const begin = performance.now();
  try {
    const { status, date } = await ask(host, context.options.environment, AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]));
    const tookMs = Math.round(performance.now() - begin);
    const theirs = date === undefined ? Number.NaN : Date.parse(date);
    const skewMs = Number.isNaN(theirs) ? undefined : Math.round(context.options.nowMs() - theirs);
    return { kind: 'answer', host: name, url: host.base.href, status, tookMs, skewMs };
  } catch (error) {
    if (host.plain !== undefined && !signal.aborted && isNoTls(error)) return probeHost(host.plain, registry, context, signal);
    return { kind: 'failed', host: name, skewMs: undefined, ...explain(error, host.base) };
  }
}

/** One GET of the interface's beginning; the body is not looked at. */
function ask(
  host: RegistryHost,
  proxyEnv: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly date: string | undefined }> {
  const { base, connection } = host;
  const isSecure = base.protocol === 'https:';
  const authorities = [...getCACertificates('default'), ...getCACertificates('system')];
  const secureContext = isSecure ? connection?.secureContext(authorities) : undefined;
  const options: RequestOptions = {
    signal,
    headers: { 'user-agent': 'soci', ...host.headersFor(base) },
    agent: isSecure ? new SecureAgent({ proxyEnv: { ...proxyEnv } }) : new PlainAgent({ proxyEnv: { ...proxyEnv } }),
    rejectUnauthorized: connection?.isInsecure !== true,
    ...(secureContext === undefined ? { ca: authorities } : { secureContext }),
  };
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; date: string | undefined }>();
  (isSecure ? secureRequest : plainRequest)(base, options)
    .on('response', (response) => {
      resolve({ status: response.statusCode ?? 0, date: response.headers.date });
      response.destroy();
    })
    .on('error', reject)
    .end();
  return promise;
}

function isNoTls(error: unknown): boolean {
  return hasCode(error, 'EPROTO', 'ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG');
}

function explain(error: unknown, { hostname, protocol }: URL): { readonly reason: string; readonly cure: string } {
  const reason = describeError(error);
  if (hasCode(error, 'ENOTFOUND', 'EAI_AGAIN'))
    return { reason: `${hostname} cannot be resolved`, cure: 'is the name right? see /etc/resolv.conf' };
  if (hasCode(error, 'ECONNREFUSED')) return { reason: 'nobody listens there', cure: 'is the port right? is the registry up?' };
  if (hasCode(error, 'ABORT_ERR'))
    return { reason: `no answer within ${DEADLINE_MS / 1_000} s`, cure: 'see firewall, routes and HTTPS_PROXY' };
  if (hasCode(error, 'CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'))
    return { reason: `its certificate is not valid now: ${reason}`, cure: 'see the clock of this machine, then renew the certificate' };
  if (hasCode(error, 'ERR_TLS_CERT_ALTNAME_INVALID'))
    return {
      reason: `its certificate is for another name: ${reason}`,
      cure: 'use the name of the certificate, or give the registry one for this name',
    };
  if (isNoTls(error)) return { reason: 'it does not speak TLS', cure: `write "http://..." in its hosts.toml, if clear text will do` };
  if (protocol === 'https:' && hasCode(error, ...UNTRUSTED))
    return { reason: `its certificate is not trusted: ${reason}`, cure: 'name its authority as ca in its hosts.toml' };
  return { reason, cure: 'see the network between here and the registry' };
}

const UNTRUSTED = [
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
];
