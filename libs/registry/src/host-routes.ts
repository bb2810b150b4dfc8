import { hasCode } from '@soci/errors';
import type { ImageReference } from '@soci/image';
import type { Logger } from '@soci/log';
import { LRUCache } from 'lru-cache';
import type { Clock } from './clock.ts';
import { apiHost } from './endpoint.ts';
import { RegistryError } from './errors.ts';
import { RegistryHost, type Capability, type RegistryHosts } from './registry-host.ts';

export interface HostRoutesOptions {
  /** Every registry is asked itself, and nobody else, where there are none. */
  readonly hosts?: RegistryHosts;
  readonly isPlainHttp: (host: string) => boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

const MAX_HOSTS = 512;
const MAX_CONTENTS = 8192;
/** How long a host that does not answer is passed over. */
const PASS_OVER_MS = 15_000;
/** How long a host that was not the first to be asked goes on being asked first for what it had. */
const STAY_MS = 60_000;
const PLAIN_MS = 10 * 60_000;

/** Which hosts are asked for what, in which order, after what was learnt of them. */
export class HostRoutes {
  readonly #options: HostRoutesOptions;
  readonly #origins = new LRUCache<string, RegistryHost>({ max: MAX_HOSTS });
  readonly #passedOver: LRUCache<string, true>;
  readonly #stays: LRUCache<string, string>;
  readonly #plain: LRUCache<string, true>;

  constructor(options: HostRoutesOptions) {
    this.#options = options;
    const perf = { now: options.clock.nowMs };
    const ttlResolution = 0; // the clock is cheap to ask, and what it says is not to be kept for a millisecond
    this.#passedOver = new LRUCache({ max: MAX_HOSTS, ttl: PASS_OVER_MS, perf, ttlResolution });
    this.#stays = new LRUCache({ max: MAX_CONTENTS, ttl: STAY_MS, perf, ttlResolution });
    this.#plain = new LRUCache({ max: MAX_HOSTS, ttl: PLAIN_MS, perf, ttlResolution });
  }

  /** The registry itself, as it is asked where nothing is configured. @throws {RegistryError} `PROTOCOL` */
  originOf({ host: namespace }: ImageReference): RegistryHost {
    const known = this.#origins.get(namespace);
    if (known !== undefined) return known;
    const host = apiHost(namespace.toLowerCase());
    const base = URL.parse(`${this.#options.isPlainHttp(host) ? 'http' : 'https'}://${host}/v2/`);
    if (base === null) throw new RegistryError('PROTOCOL', `${host} is not a host name`);
    const origin = new RegistryHost({ base, credentialHost: host });
    this.#origins.set(namespace, origin);
    return origin;
  }

  /**
   * The hosts to ask, best first; a single one to push to. The last of those configured is always among them, as the one whose word counts; others are left out while they do not answer.
   *
   * @param content what is asked for, if it was asked for before: a host that had it is stayed with
   * @throws {RegistryError} `HOSTS_INVALID`; `NOT_FOUND` when no host may be asked for this, as containerd has it
   */
  async hostsFor(
    reference: ImageReference,
    needs: readonly Capability[],
    content: string | undefined,
    signal: AbortSignal,
  ): Promise<readonly RegistryHost[]> {
    const origin = this.originOf(reference);
    const { hosts: configured } = this.#options;
    if (configured === undefined) return [origin];
    const able = (await configured.hostsFor(reference.host, origin, signal)).filter((host) => host.can(needs));
    if (able.length === 0)
      throw new RegistryError('NOT_FOUND', `no host is configured for ${reference.host} that may be asked to ${needs.join(' and ')}`);
    if (able.length === 1 || needs.includes('push')) return able.slice(0, 1);
    const stay = content === undefined ? undefined : this.#stays.get(content);
    const from = Math.max(
      0,
      able.findIndex(({ key }) => key === stay),
    );
    return able.filter((host, at) => at === able.length - 1 || (at >= from && !this.#passedOver.has(host.key)));
  }

  /** As the host is spoken to: in clear text where it turned out not to speak TLS, if that is configured. */
  spokenTo(host: RegistryHost): RegistryHost {
    return host.plain !== undefined && this.#plain.has(host.key) ? host.plain : host;
  }

  speaksNoTls(host: RegistryHost): void {
    this.#plain.set(host.key, true);
  }

  /** @param isFirst whether it was the first that was asked */
  worked(host: RegistryHost, content: string | undefined, isFirst: boolean): void {
    if (!isFirst && content !== undefined) this.#stays.set(content, host.key);
  }

  /** A host that does not answer, or only that it cannot, is passed over for a while, so that not every read waits for it. */
  failed(host: RegistryHost, error: unknown, content?: string): void {
    if (content !== undefined) this.#stays.delete(content);
    if (!hasCode(error, 'UNREACHABLE', 'TIMEOUT', 'UNAVAILABLE', 'RATE_LIMITED')) return;
    if (!this.#passedOver.has(host.key))
      this.#options.log.warn({ host: host.name, error, passedOverMs: PASS_OVER_MS }, 'registry host fails, others are asked instead');
    this.#passedOver.set(host.key, true);
  }
}
