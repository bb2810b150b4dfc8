import { randomBytes } from 'node:crypto';
import type { Bus } from '@soci/bus';
import type { ImageReference } from '@soci/image';
import { fingerprint, KeychainError, type CredentialSource, type SourceChange } from '@soci/keychain';
import type { credentials } from '@soci/proto';
import { fromPosition } from './messages.ts';
import {
  changedTopic,
  lookupMethod,
  namespacesMethod,
  stateMethod,
  type FailedAnswer,
  type LookupReply,
  type LookupRequest,
  type LookupService,
  type Position,
} from './methods.ts';

export interface ServeLookupsOptions {
  readonly bus: Bus;
  /** Named `cri` or `kubernetes-secrets`; who serves it follows from that. */
  readonly source: CredentialSource;
  /** Where pulls are seen. */
  readonly namespacesOf?: (reference: ImageReference, pulls: 'running-or-succeeded' | 'succeeded') => readonly string[];
  /** For people and for health checks; a source that is there is ready by default. */
  readonly state?: () => { readonly ready: boolean; readonly reason: string };
}

const INSTANCE_BYTES = 12;
/** What one event names at most; more hosts than these are any host, more ids make another event. */
const MAX_NAMED = 256;

/** Answers look-ups of another service with what a source has, and tells it of changes. */
export function serveLookups({ bus, source, namespacesOf, state = alwaysReady }: ServeLookupsOptions): Disposable {
  const service = serviceOf(source);
  const resources = new DisposableStack();
  const instance = randomBytes(INSTANCE_BYTES).toString('hex');
  let sequence = 0;
  const position = (): Position => ({ instance, sequence });
  const tell = (event: Omit<credentials.SourceChanged, 'position'>): void =>
    bus.publish(changedTopic(service), { position: fromPosition(position()), ...event });
  const sayHello = (): void => tell({ anyHost: false, hosts: [], withdrawn: [] });

  resources.use(bus.serve(lookupMethod(service), async (request, { signal }) => await answer(source, position(), request, signal)));
  resources.use(bus.serve(stateMethod(service), () => ({ position: fromPosition(position()), ...state() })));
  if (namespacesOf !== undefined) {
    const pullsOf = (reference: ImageReference) => ({
      runningOrSucceeded: namespacesOf(reference, 'running-or-succeeded'),
      succeeded: namespacesOf(reference, 'succeeded'),
    });
    resources.use(bus.serve(namespacesMethod, (references) => references.map(pullsOf)));
  }
  const changes = source.onChange?.((change) => {
    for (const event of eventsOf(change)) {
      sequence++;
      tell(event);
    }
  });
  if (changes !== undefined) resources.use(changes);
  resources.use(bus.onStateChange(({ kind }) => kind === 'connected' && sayHello()));
  if (bus.state.kind === 'connected') sayHello();
  return resources;
}

async function answer(
  source: CredentialSource,
  position: Position, // from before the look-up: a change meanwhile counts as one that came after it
  { refused, ...lookup }: LookupRequest,
  signal: AbortSignal,
): Promise<LookupReply> {
  for (const id of refused) source.refused?.(id);
  try {
    const found = await source.resolve(lookup, signal);
    return {
      position,
      answer: found,
      ids: found.kind === 'candidates' ? found.candidates.map(({ credential }) => fingerprint(credential)) : [],
    };
  } catch (error) {
    if (!(error instanceof KeychainError)) throw error;
    const failed: FailedAnswer = { kind: 'failed', code: error.code, message: error.message };
    return { position, answer: failed, ids: [] };
  }
}

/** @param change whose fingerprints are the ids: keyed by this process, they say nothing to anybody who has not been given them */
function* eventsOf({ hosts, withdrawn }: SourceChange): Generator<Omit<credentials.SourceChanged, 'position'>> {
  const anyHost = hosts === undefined || hosts.length > MAX_NAMED;
  const named = anyHost ? [] : [...hosts];
  if (!anyHost && named.length === 0 && withdrawn.length === 0) return;
  yield { anyHost, hosts: named, withdrawn: withdrawn.slice(0, MAX_NAMED) };
  for (let i = MAX_NAMED; i < withdrawn.length; i += MAX_NAMED)
    yield { anyHost: false, hosts: [], withdrawn: withdrawn.slice(i, i + MAX_NAMED) };
}

function serviceOf({ name }: CredentialSource): LookupService {
  if (name === 'cri') return 'cri-proxy';
  if (name === 'kubernetes-secrets') return 'secret-syncer';
  throw new TypeError(`no service answers for ${name}`);
}

function alwaysReady(): { readonly ready: boolean; readonly reason: string } {
  return { ready: true, reason: '' };
}
