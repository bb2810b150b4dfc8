import type { Answer, CredentialSource, Lookup } from '@soci/keychain';

const MAX_HOSTS = 512;
/** Registries that are told apart of one host. */
const MAX_IMAGE_HOSTS = 64;

/**
 * Remembers for images of which registries each host was asked: with mirrors they are not the same. Whatever waits for a credential at a host was looked up
 * there before, so that this is known without a look at the configuration.
 */
export class AskedHosts {
  /** By host, those used last at the end; undefined for one that stands for too many. */
  readonly #imageHosts = new Map<string, Set<string> | undefined>();

  /** The source as the registry client is to ask it. */
  watch(source: CredentialSource): CredentialSource {
    return {
      name: source.name,
      resolve: (lookup: Lookup, signal: AbortSignal): Promise<Answer> => {
        this.#note(lookup);
        return source.resolve(lookup, signal);
      },
      ...(source.onChange && { onChange: source.onChange.bind(source) }),
      ...(source.refused && { refused: source.refused.bind(source) }),
    };
  }

  /** See `ImageHostsOf`. */
  readonly imageHostsOf = (host: string): readonly string[] | undefined => {
    const known = this.#imageHosts.get(host);
    if (known !== undefined) return [...known];
    return this.#imageHosts.has(host) || this.#imageHosts.size >= MAX_HOSTS ? undefined : [];
  };

  #note({ host, reference }: Lookup): void {
    const isKnown = this.#imageHosts.has(host);
    const known = this.#imageHosts.get(host) ?? (isKnown ? undefined : new Set<string>());
    known?.add(reference.host);
    this.#imageHosts.delete(host);
    this.#imageHosts.set(host, known !== undefined && known.size > MAX_IMAGE_HOSTS ? undefined : known);
    const [oldest] = this.#imageHosts.keys();
    if (this.#imageHosts.size > MAX_HOSTS && oldest !== undefined) this.#imageHosts.delete(oldest);
  }
}
