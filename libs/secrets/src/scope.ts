import type { PullSecretType } from '@soci/keychain';
import { SecretsError } from './errors.ts';

/** What one list and watch is about. */
export interface Scope {
  readonly type: PullSecretType;
  /** Undefined: all of them. */
  readonly namespace: string | undefined;
}

const TYPES: readonly PullSecretType[] = ['kubernetes.io/dockerconfigjson', 'kubernetes.io/dockercfg'];
const NAMESPACE = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

/**
 * Every pair of type and namespace.
 * @param namespaces none: the whole cluster
 * @throws {SecretsError} `CONFIG_INVALID`
 */
export function scopesOf(namespaces: readonly string[]): readonly Scope[] {
  const wrong = namespaces.find((name) => !NAMESPACE.test(name));
  if (wrong !== undefined)
    throw new SecretsError('CONFIG_INVALID', `kubeconfig_keychain namespaces: ${JSON.stringify(wrong)} cannot be a namespace`);
  const places: readonly (string | undefined)[] = namespaces.length === 0 ? [undefined] : [...new Set(namespaces)];
  return places.flatMap((namespace) => TYPES.map((type) => ({ type, namespace })));
}

/** For messages: `namespace team-a`, `all namespaces`. */
export function placeOf({ namespace }: Scope): string {
  return namespace === undefined ? 'all namespaces' : `namespace ${namespace}`;
}

/** Path of the collection with the selector for the type, which list and watch both need, and more of a query. */
export function pathOf({ type, namespace }: Scope, query: Readonly<Record<string, string>>): string {
  const collection = namespace === undefined ? '/api/v1/secrets' : `/api/v1/namespaces/${namespace}/secrets`;
  return `${collection}?${new URLSearchParams({ fieldSelector: `type=${type}`, ...query }).toString()}`;
}
