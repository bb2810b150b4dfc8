import { isAbsolute } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';
import { ChangeListeners, withdrawnBetween } from './change-listeners.ts';
import type { Credential } from './credential.ts';
import { CredentialPlugin, type CredentialPluginOptions } from './credential-plugin.ts';
import { KeychainError } from './errors.ts';
import { isHubHost } from './hub.ts';
import { patternTarget } from './image-pattern.ts';
import { Keyring } from './keyring.ts';
import type { PluginProvider } from './plugin-config.ts';
import { PluginConfigReader, type PluginConfigState } from './plugin-config-reader.ts';
import { PolledPath } from './polled-path.ts';
import { SingleFlight } from './single-flight.ts';
import { firstDistinct, none, type Answer, type CredentialSource, type Lookup, type SourceChange } from './source.ts';

export interface PluginSourceOptions {
  /** A CredentialProviderConfig, or a folder of them, as the kubelet's `--image-credential-provider-config`. */
  readonly configPath: string;
  /** Absolute, as the kubelet's `--image-credential-provider-bin-dir`. */
  readonly binDir: string;
  /** The environment that plugins get, but for what concerns this process alone. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
  /** User ids that may own the configuration, the folder and the programs; root and the user we run as by default. */
  readonly owners?: readonly number[];
  /** How long a plugin may take; 60 s by default, as in the kubelet. */
  readonly timeoutMs?: number;
  /** The wall clock, for the age of entries. */
  readonly nowMs?: () => number;
  /** For how long an answer holds. */
  readonly monotonicMs?: () => number;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const LOOK_TIMEOUT_MS = 10_000;

/**
 * Credentials of the kubelet's credential provider plugins. Every plugin whose patterns match the image is asked, and their answers are one keyring in the order of the configuration.
 * An answer is kept as long as it says, or until a registry refuses a credential of it. A plugin that fails has nothing.
 *
 * @see https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/
 */
export class PluginSource implements CredentialSource {
  readonly name = 'credential-plugins';
  readonly #log: Logger;
  readonly #pluginOptions: CredentialPluginOptions;
  readonly #reader: PluginConfigReader;
  readonly #polled: PolledPath;
  readonly #reads = new SingleFlight<PluginConfigState>();
  readonly #listeners = new ChangeListeners();
  #state: PluginConfigState | undefined;
  #plugins: readonly CredentialPlugin[] = [];

  /** @throws {KeychainError} `CONFIG_INVALID` when the folder of programs is not named by an absolute path */
  constructor({
    configPath,
    binDir,
    env,
    log,
    owners = [0, process.geteuid?.() ?? 0],
    timeoutMs = DEFAULT_TIMEOUT_MS,
    nowMs = Date.now,
    monotonicMs = () => performance.now(),
  }: PluginSourceOptions) {
    if (!isAbsolute(binDir)) throw new KeychainError('CONFIG_INVALID', `folder of credential plugins: ${binDir} is not an absolute path`);
    this.#log = log;
    this.#pluginOptions = { binDir, env, log, owners, timeoutMs, nowMs, monotonicMs };
    this.#reader = new PluginConfigReader(configPath, owners);
    this.#polled = new PolledPath(configPath, () => {
      this.#read(AbortSignal.timeout(LOOK_TIMEOUT_MS)).catch((error: unknown) =>
        this.#log.warn({ path: configPath, reason: describeError(error) }, 'configuration of credential plugins not usable'),
      );
    });
  }

  async resolve({ host, reference }: Lookup, signal: AbortSignal): Promise<Answer> {
    const state = await this.#read(signal);
    if (state.kind !== 'read') return none(state.reason);
    const target = patternTarget(host, reference.repository);
    const image = `${isHubHost(host) ? 'docker.io' : host}/${reference.repository}`;
    const plugins = this.#plugins.filter((plugin) => plugin.isFor(target));
    if (plugins.length === 0) return none(`no plugin is for ${image}`);
    const findings = await Promise.all(plugins.map((plugin) => plugin.ask(image, signal)));
    const keyring = new Keyring(findings.flatMap((finding) => (finding.kind === 'entries' ? finding.entries : [])));
    const candidates = firstDistinct(keyring.match(host, reference.repository));
    if (candidates.length > 0) return { kind: 'candidates', source: this.name, candidates };
    const failures = findings.filter((finding) => finding.kind === 'failed').map(({ reason }) => reason);
    return none(failures.join('; ') || `plugin ${plugins.map(({ provider }) => provider.name).join(', ')} has nothing for ${image}`);
  }

  refused(fingerprint: string): boolean {
    const isWorthAnother = this.#plugins.map((plugin) => plugin.refused(fingerprint)); // each of them is told
    return isWorthAnother.includes(true);
  }

  onChange(listener: (change: SourceChange) => void): Disposable {
    const resources = new DisposableStack();
    resources.use(this.#listeners.add(listener));
    resources.use(this.#polled.watch());
    return resources;
  }

  async #read(signal: AbortSignal): Promise<PluginConfigState> {
    let state: PluginConfigState;
    try {
      state = await this.#reads.run('', signal, (shared) => this.#reader.read(shared));
    } catch (error) {
      if (error instanceof KeychainError && error.code === 'SOURCE_UNTRUSTED') this.#replace([]);
      throw error;
    }
    if (state !== this.#state) this.#adopt(state);
    return state;
  }

  /** Plugins that are configured as before keep what they said. A configuration that cannot be read changes nothing until one can. */
  #adopt(state: PluginConfigState): void {
    this.#state = state;
    if (state.kind === 'broken') {
      this.#log.warn({ reason: state.reason }, 'configuration of credential plugins not usable');
      return;
    }
    const providers = state.kind === 'read' ? state.providers : [];
    for (const { name, wantsServiceAccountToken } of providers)
      if (wantsServiceAccountToken)
        this.#log.error(
          { plugin: name },
          'credential plugin wants service account tokens (tokenAttributes), which are not supported: it is not run',
        );
    const find = (provider: PluginProvider): CredentialPlugin | undefined =>
      this.#plugins.find((plugin) => isDeepStrictEqual(plugin.provider, provider));
    this.#replace(providers.map((provider) => find(provider) ?? new CredentialPlugin(provider, this.#pluginOptions)));
  }

  #replace(plugins: readonly CredentialPlugin[]): void {
    const before = this.#plugins;
    this.#plugins = plugins;
    if (before.length > 0 || plugins.length > 0)
      this.#listeners.tell({ source: this.name, withdrawn: withdrawnBetween(credentialsOf(before), credentialsOf(plugins)) });
  }
}

function credentialsOf(plugins: readonly CredentialPlugin[]): Credential[] {
  return plugins.flatMap((plugin) => [...plugin.credentials()]);
}
