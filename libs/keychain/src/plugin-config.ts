import { load, YAMLException } from 'js-yaml';
import { z } from 'zod';
import { KeychainError } from './errors.ts';
import { parseGoDuration } from './go-duration.ts';

/** One credential provider of the kubelet: a program, and for which images it is asked. */
export interface PluginProvider {
  /** Name of the program in the folder of plugins. */
  readonly name: string;
  /** Of its requests and answers: `credentialprovider.kubelet.k8s.io/v1`. */
  readonly apiVersion: string;
  readonly matchImages: readonly string[];
  readonly defaultCacheMs: number;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  /** It wants a service account token of the pod, which nobody has here. */
  readonly wantsServiceAccountToken: boolean;
}

const VERSIONS = ['v1', 'v1beta1', 'v1alpha1'];
const duration = z.string().transform((text, context) => {
  const ms = parseGoDuration(text);
  if (ms !== undefined && ms >= 0) return ms;
  context.addIssue({ code: 'custom', message: 'expected a duration such as 10m, not below zero' });
  return z.NEVER;
});
const provider = z.strictObject({
  name: z
    .string()
    .regex(/^[^/ \0]+$/, 'not the name of a program')
    .refine((name) => name !== '.' && name !== '..', 'not the name of a program'),
  apiVersion: z.enum(VERSIONS.map((version) => `credentialprovider.kubelet.k8s.io/${version}`)),
  matchImages: z.array(z.string()).min(1),
  defaultCacheDuration: duration,
  args: z.array(z.string()).nullish(),
  env: z.array(z.strictObject({ name: z.string().regex(/^[^=\0]+$/, 'not the name of a variable'), value: z.string() })).nullish(),
  tokenAttributes: z.unknown().optional(),
});
const document = z.strictObject({
  kind: z.literal('CredentialProviderConfig'),
  apiVersion: z.enum(VERSIONS.map((version) => `kubelet.config.k8s.io/${version}`)),
  providers: z.array(provider).min(1),
});

/**
 * Parses a CredentialProviderConfig, YAML or JSON, as strictly as the kubelet: it may name programs that root runs.
 *
 * @param path for messages
 * @throws {KeychainError} `CONFIG_INVALID`, without a piece of the text: variables may hold secrets
 * @see https://kubernetes.io/docs/reference/config-api/kubelet-config.v1/#kubelet-config-k8s-io-v1-CredentialProviderConfig
 */
export function parsePluginConfig(text: string, path: string): readonly PluginProvider[] {
  const parsed = document.safeParse(readYaml(text, path));
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'document'}: ${issue.message}`);
    throw new KeychainError('CONFIG_INVALID', `${path}: ${problems.slice(0, 5).join('; ')}`);
  }
  return parsed.data.providers.map((one) => ({
    name: one.name,
    apiVersion: one.apiVersion,
    matchImages: one.matchImages,
    defaultCacheMs: one.defaultCacheDuration,
    args: one.args ?? [],
    env: one.env ?? [],
    wantsServiceAccountToken: one.tokenAttributes !== undefined && one.tokenAttributes !== null,
  }));
}

function readYaml(text: string, path: string): unknown {
  try {
    return load(text);
  } catch (error) {
    // The parser's message shows the lines around.
    const where = error instanceof YAMLException && error.mark !== undefined ? ` near line ${error.mark.line + 1}` : '';
    throw new KeychainError('CONFIG_INVALID', `${path}: not YAML${where}`);
  }
}
