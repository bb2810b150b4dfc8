import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Login } from '@soci/testing';

export interface CredentialPlugin {
  /** As for the kubelet's `--image-credential-provider-config`. */
  readonly configPath: string;
  /** As for its `--image-credential-provider-bin-dir`. */
  readonly binDir: string;
  /** What it gives from now on; nothing where undefined. */
  setLogin(login: Login | undefined): Promise<void>;
}

const NAME = 'test-provider';
const API = 'credentialprovider.kubelet.k8s.io/v1';

/** A credential provider plugin for one registry: a script that prints an answer file and keeps nothing in a cache. @param before shell lines that run first */
export async function makePlugin(directory: string, host: string, before = ''): Promise<CredentialPlugin> {
  const binDir = join(directory, 'plugins');
  const configPath = join(directory, 'plugins.yaml');
  const answer = join(directory, 'plugin-answer.json');
  await mkdir(binDir, { recursive: true });
  await writeFile(join(binDir, NAME), `#!/bin/sh\n${before}\ncat > /dev/null\nexec cat ${answer}\n`, { mode: 0o755 });
  const config = {
    apiVersion: 'kubelet.config.k8s.io/v1',
    kind: 'CredentialProviderConfig',
    providers: [{ name: NAME, apiVersion: API, matchImages: [host], defaultCacheDuration: '0s' }],
  };
  await writeFile(configPath, JSON.stringify(config)); // YAML takes JSON
  const setLogin = async (login: Login | undefined): Promise<void> => {
    const auth = login === undefined ? {} : { [host]: login };
    const response = { apiVersion: API, kind: 'CredentialProviderResponse', cacheKeyType: 'Registry', cacheDuration: '0s', auth };
    await writeFile(answer, JSON.stringify(response), { mode: 0o600 });
  };
  await setLogin(undefined);
  return { configPath, binDir, setLogin };
}

/** Lines of config.toml that turn the source on. */
export function pluginConfig({ configPath, binDir }: CredentialPlugin): string {
  return `[credential_plugins]\nconfig_path = ${JSON.stringify(configPath)}\nbin_dir = ${JSON.stringify(binDir)}\n`;
}
