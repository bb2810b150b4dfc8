import { ImageError, parseReference, type ImageReference } from '@soci/image';
import { status as api } from '@soci/proto';
import { implement, RpcError, type ServiceImplementation } from '@soci/rpc';
import { surveyCredentials, type CredentialsSurveyOptions } from './credentials-survey.ts';
import { StatusError } from './errors.ts';
import { toWireReport } from './credentials-wire.ts';
import { describeService, type ServiceFacts } from './describe-service.ts';
import { ServiceHealth } from './service-health.ts';
import { toWireHealth, toWireStatus } from './status-wire.ts';

export interface StatusServiceOptions extends CredentialsSurveyOptions {
  /** Left out: whoever answers is of use. */
  readonly health?: ServiceHealth;
  readonly facts?: ServiceFacts;
}

/** Sources are asked at the same time; a helper and a plugin may take 60 s. */
const SURVEY_TIMEOUT_MS = 70_000;
const MAX_NAMESPACES = 100;
const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?$/;
const MAX_HOST_LENGTH = 300;
/** As Kubernetes names them. */
const NAMESPACE = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * What the running service tells about itself, for {@link serveAdmin}.
 * @param address where it is served
 */
export function statusService(options: StatusServiceOptions, address: string): ServiceImplementation {
  const { health = new ServiceHealth(), facts, sources } = options;
  return implement(api.StatusServiceService, {
    async credentials({ reference, host, namespaces }, { signal }) {
      const question = {
        reference: readReference(reference),
        ...(host === '' ? {} : { host: readHost(host) }),
        ...(namespaces.length === 0 ? {} : { namespaces: readNamespaces(namespaces) }),
      };
      const report = await surveyCredentials(options, question, AbortSignal.any([signal, AbortSignal.timeout(SURVEY_TIMEOUT_MS)]));
      return toWireReport(report);
    },
    async health() {
      const [live, ready] = await Promise.all([health.live(), health.ready()]);
      return { live: toWireHealth(live), ready: toWireHealth(ready) };
    },
    status() {
      if (facts === undefined) throw new RpcError('UNIMPLEMENTED', 'this service tells nothing of itself');
      return Promise.resolve(toWireStatus(describeService(facts, sources, address)));
    },
  });
}

function readReference(text: string): ImageReference {
  try {
    return parseReference(text);
  } catch (cause) {
    if (!(cause instanceof ImageError)) throw cause;
    throw new StatusError('INVALID', cause.message, { cause });
  }
}

function readHost(text: string): string {
  const host = text.toLowerCase();
  if (host.length <= MAX_HOST_LENGTH && HOST.test(host)) return host;
  throw new StatusError('INVALID', `registry ${JSON.stringify(text.slice(0, MAX_HOST_LENGTH))}: expected a host, with its port if any`);
}

function readNamespaces(names: readonly string[]): readonly string[] {
  if (names.length > MAX_NAMESPACES) throw new StatusError('INVALID', `more than ${MAX_NAMESPACES} namespaces`);
  for (const name of names) {
    if (!NAMESPACE.test(name))
      throw new StatusError('INVALID', `namespace ${JSON.stringify(name.slice(0, MAX_HOST_LENGTH))}: not a name of Kubernetes`);
  }
  return names;
}
