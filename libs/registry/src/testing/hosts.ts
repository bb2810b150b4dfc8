import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { SYSTEM_CLOCK, type Clock } from '../clock.ts';
import { createRegistryHosts, type CreateRegistryHostsOptions, type MirrorConfig } from '../create-registry-hosts.ts';
import type { RegistryHosts } from '../registry-host.ts';

export interface HostsSetup {
  readonly hosts: RegistryHosts;
  readonly root: string;
  readonly lines: readonly string[];
  /** Writes files below the root: path to text. */
  readonly write: (files: Readonly<Record<string, string>>) => Promise<void>;
}

/** A folder like /etc/containerd/certs.d with files in it: `127.0.0.1_5000_/hosts.toml` to text. */
export async function hostsIn(
  t: TestContext,
  files: Readonly<Record<string, string>>,
  options: Partial<CreateRegistryHostsOptions> = {},
): Promise<HostsSetup> {
  const root = await mkdtemp(join(tmpdir(), 'soci-hosts-'));
  t.after(() => rm(root, { recursive: true, force: true }));
  const write = async (more: Readonly<Record<string, string>>): Promise<void> => {
    for (const [path, text] of Object.entries(more)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), text);
    }
  };
  await write(files);
  const { log, lines } = collectLogs();
  return { hosts: createRegistryHosts({ configPath: root, log, ...options }), root, lines, write };
}

export function mirror(host: string, more: Partial<MirrorConfig> = {}): MirrorConfig {
  return { host, insecure: true, requestTimeoutSec: 0, credentials: 'mirror', ...more };
}

/** A clock that moves when it is told to. */
export function clockOf(): { readonly clock: Clock; readonly pass: (ms: number) => void } {
  let nowMs = 1_000_000;
  return { clock: { ...SYSTEM_CLOCK, nowMs: () => nowMs }, pass: (ms) => void (nowMs += ms) };
}
