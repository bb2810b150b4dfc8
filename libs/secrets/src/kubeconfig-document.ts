import { isAbsolute, join } from 'node:path';
import type { KubeConfig, User } from '@kubernetes/client-node';
import { Secret } from '@soci/keychain';
import { z } from 'zod';
import type { ApiServer, ApiTarget, ApiUser, LoginProgram, Pem } from './api-target.ts';
import { SecretsError } from './errors.ts';

/** A kubeconfig file as it was read. */
export interface KubeconfigText {
  readonly path: string;
  /** What relative paths in it start from. */
  readonly directory: string;
  readonly text: string;
}

const optionalText = z.string().nullish();
/** What the library's reader takes as it comes: a token of digits alone is a number in YAML. */
const clusterTexts = z.object({
  server: optionalText,
  'certificate-authority-data': optionalText,
  'tls-server-name': optionalText,
  'proxy-url': optionalText,
});
const userTexts = {
  token: optionalText,
  username: optionalText,
  password: optionalText,
  'client-certificate-data': optionalText,
  'client-key-data': optionalText,
  as: optionalText,
};
/** What the library's reader leaves out, reads at the wrong time or does not check. */
const extraParts = z.object({
  clusters: z.array(z.object({ cluster: clusterTexts.nullish() })).nullish(),
  users: z
    .array(
      z.object({
        name: z.string(),
        user: z
          .object({
            ...userTexts,
            tokenFile: z.string().optional(),
            'as-uid': z.string().optional(),
            'as-groups': z.array(z.string()).optional(),
            'as-user-extra': z.record(z.string(), z.array(z.string())).optional(),
          })
          .nullish(),
      }),
    )
    .nullish(),
});
type UserExtras = NonNullable<NonNullable<z.output<typeof extraParts>['users']>[number]['user']>;

const program = z.object({
  apiVersion: z.enum(['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1']),
  command: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
  interactiveMode: z.enum(['Never', 'IfAvailable', 'Always']).nullish(),
  provideClusterInfo: z.boolean().nullish(),
});
const authProvider = z.object({ name: z.string() });

interface Merged {
  readonly config: KubeConfig;
  readonly extras: ReadonlyMap<string, UserExtras>;
  /** Folder of the file that a user stands in. */
  readonly directories: ReadonlyMap<string, string>;
}

/**
 * Merges kubeconfig files, of which the first to say something wins, and takes what the current context points to.
 *
 * @throws {SecretsError} `KUBECONFIG_INVALID`
 * @see https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files
 */
export async function parseKubeconfig(files: readonly KubeconfigText[]): Promise<ApiTarget> {
  const origin = files.map(({ path }) => path).join(':');
  const invalid = (why: string): SecretsError => new SecretsError('KUBECONFIG_INVALID', `kubeconfig ${origin}: ${why}`);
  const { config, extras, directories } = await merge(files);
  if (!config.currentContext) throw invalid('no current context');
  const context = config.getContextObject(config.currentContext);
  const cluster = context && config.getCluster(context.cluster);
  if (!cluster) throw invalid('the current context names no cluster that is there');
  const server: ApiServer = {
    url: httpUrl(cluster.server) ?? raise(invalid('the address of the cluster is not an http or https URL')),
    authority: pem(cluster.caFile, cluster.caData),
    isInsecure: cluster.skipTLSVerify,
    serverName: cluster.tlsServerName || undefined,
    proxyUrl: cluster.proxyUrl
      ? (proxyUrl(cluster.proxyUrl) ?? raise(invalid('its proxy-url is not an http, https or socks5 URL')))
      : undefined,
  };
  const user = context.user ? config.getUser(context.user) : null;
  if (context.user && !user) throw invalid('the current context names no user that is there');
  const own = user === null ? undefined : toUser(user, extras.get(user.name) ?? {}, directories.get(user.name) ?? '/', config, invalid);
  return { origin, server, user: own ?? toUser({ name: '' }, {}, '/', config, invalid) };
}

async function merge(files: readonly KubeconfigText[]): Promise<Merged> {
  const { KubeConfig, loadYaml } = await import('@kubernetes/client-node'); // 80 MB: for those alone who follow secrets
  const config = new KubeConfig();
  const extras = new Map<string, UserExtras>();
  const directories = new Map<string, string>();
  for (const { path, directory, text } of files) {
    if (text.trim() === '') continue;
    const one = new KubeConfig();
    try {
      const document = loadYaml<unknown>(text);
      one.loadFromString(text);
      one.makePathsAbsolute(directory);
      for (const { name, user } of extraParts.parse(document).users ?? []) {
        if (directories.has(name)) continue;
        directories.set(name, directory);
        extras.set(name, user ?? {});
      }
    } catch (error) {
      // The library's message may quote the file, and that holds tokens. Where a text is missing may be told.
      const issue = error instanceof z.ZodError ? error.issues[0] : undefined;
      const why = issue === undefined || issue.path.length === 0 ? 'not a kubeconfig file' : `${issue.path.join('.')}: ${issue.message}`;
      throw new SecretsError('KUBECONFIG_INVALID', `kubeconfig ${path}: ${why}`);
    }
    config.currentContext ||= one.currentContext;
    config.clusters.push(...one.clusters.filter(({ name }) => config.getCluster(name) === null));
    config.users.push(...one.users.filter(({ name }) => config.getUser(name) === null));
    config.contexts.push(...one.contexts.filter(({ name }) => config.getContextObject(name) === null));
  }
  return { config, extras, directories };
}

function toUser(user: User, extras: UserExtras, directory: string, config: KubeConfig, invalid: (why: string) => SecretsError): ApiUser {
  const provider = authProvider.safeParse(user.authProvider).data?.name;
  if (provider !== undefined && provider !== 'oidc')
    throw invalid(`auth-provider ${provider} is no longer part of Kubernetes clients, an exec plugin takes its place`);
  return {
    tokenFile: extras.tokenFile ? absolute(directory, extras.tokenFile) : undefined,
    token: user.token ? Secret.of(user.token) : undefined,
    program: user.exec ? toProgram(user.exec, directory, invalid) : undefined,
    openId: provider === 'oidc' ? () => openIdHeader(config) : undefined,
    password: user.username ? { username: user.username, password: Secret.of(user.password ?? '') } : undefined,
    certificate: pem(user.certFile, user.certData),
    key: pem(user.keyFile, user.keyData),
    impersonation: impersonation(user.impersonateUser, extras),
  };
}

function toProgram(value: unknown, directory: string, invalid: (why: string) => SecretsError): LoginProgram {
  const { data } = program.safeParse(value);
  if (data === undefined)
    throw invalid('its exec plugin has no command, or an apiVersion other than client.authentication.k8s.io/v1 and v1beta1');
  if (data.interactiveMode === 'Always') throw invalid('its exec plugin wants a terminal, and a service has none');
  return {
    command: data.command.includes('/') ? absolute(directory, data.command) : data.command,
    args: data.args ?? [],
    env: Object.fromEntries((data.env ?? []).map(({ name, value: text }) => [name, text])),
    apiVersion: data.apiVersion,
    wantsServer: data.provideClusterInfo ?? false,
  };
}

function impersonation(username: string | undefined, extras: UserExtras): Readonly<Record<string, string | readonly string[]>> {
  return {
    ...(username ? { 'Impersonate-User': username } : {}),
    ...(extras['as-uid'] ? { 'Impersonate-Uid': extras['as-uid'] } : {}),
    ...(extras['as-groups'] ? { 'Impersonate-Group': extras['as-groups'] } : {}),
    ...Object.fromEntries(
      Object.entries(extras['as-user-extra'] ?? {}).map(([key, values]) => [`Impersonate-Extra-${encodeURIComponent(key)}`, values]),
    ),
  };
}

/** The library refreshes the token at the issuer when it is over. */
async function openIdHeader(config: KubeConfig): Promise<string | undefined> {
  const { HttpMethod, RequestContext } = await import('@kubernetes/client-node');
  const request = new RequestContext('https://unused.invalid', HttpMethod.GET);
  await config.applySecurityAuthentication(request);
  return request.getHeaders().Authorization;
}

function pem(path: string | undefined, data: string | undefined): Pem | undefined {
  if (data) return { kind: 'data', bytes: Buffer.from(data, 'base64') };
  return path ? { kind: 'file', path } : undefined;
}

function absolute(directory: string, path: string): string {
  return isAbsolute(path) ? path : join(directory, path);
}

function httpUrl(text: string): string | undefined {
  const url = URL.parse(text.includes('://') ? text : `https://${text}`);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) return undefined;
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

function proxyUrl(text: string): string | undefined {
  return ['http:', 'https:', 'socks5:', 'socks5h:'].includes(URL.parse(text)?.protocol ?? '') ? text : undefined;
}

function raise(error: Error): never {
  throw error;
}
