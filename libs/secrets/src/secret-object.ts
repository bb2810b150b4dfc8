import type { PullSecret, PullSecretType } from '@soci/keychain';
import { z } from 'zod';

/** What is read of a secret; everything else of the object is dropped with it. */
const secretObject = z.object({
  type: z.string().nullish(),
  metadata: z.object({ namespace: z.string().min(1), name: z.string().min(1), resourceVersion: z.string().optional() }),
  data: z.object({ '.dockerconfigjson': z.string().optional(), '.dockercfg': z.string().optional() }).nullish(),
});

type Member = keyof NonNullable<NonNullable<z.output<typeof secretObject>['data']>>;
const MEMBERS: Readonly<Record<PullSecretType, Member>> = {
  'kubernetes.io/dockerconfigjson': '.dockerconfigjson',
  'kubernetes.io/dockercfg': '.dockercfg',
};

export interface ReadSecret {
  readonly secret: PullSecret;
  readonly version: string | undefined;
}

/**
 * Takes what is needed out of a Secret object of the API.
 * @returns undefined where it is not a secret of this type with a name
 */
export function readSecret(value: unknown, type: PullSecretType): ReadSecret | undefined {
  const { data: object } = secretObject.safeParse(value);
  // In a list the type of the object stands, but an old server may leave out what the selector asked for.
  if (object === undefined || (object.type ?? type) !== type) return undefined;
  const { namespace, name, resourceVersion } = object.metadata;
  const member = object.data?.[MEMBERS[type]];
  const document = member === undefined ? undefined : Buffer.from(member, 'base64').toString('utf8');
  return { secret: { namespace, name, type, document }, version: resourceVersion };
}
