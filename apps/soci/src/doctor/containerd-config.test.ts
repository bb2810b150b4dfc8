import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { collectLogs } from '@soci/log';
import { makeFolder } from '../testing/folder.ts';
import type { Check } from './check.ts';
import { criSettings, proxyPlugin } from './containerd-settings.ts';
import { DoctorContext } from './doctor-context.ts';

const signal = new AbortController().signal;
const ADDRESS = '/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock';
const PLUGIN = `[proxy_plugins.soci]
type = "snapshot"
address = "${ADDRESS}"
[proxy_plugins.soci.exports]
root = "/var/lib/soci-snapshotter-grpc"
`;
const CRI_V2 = `[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "soci"
disable_snapshot_annotations = false
`;
const CRI_V3 = `[plugins."io.containerd.cri.v1.images"]
snapshotter = "soci"
disable_snapshot_annotations = false
`;

type Files = Readonly<Record<string, string>>;

async function look(t: TestContext, check: Check, files: Files, isNode = true): Promise<string> {
  const folder = await makeFolder(t, { ...files, ...(isNode ? { 'system/var/lib/kubelet/config.yaml': '' } : {}) });
  const paths = {
    adminAddress: join(folder, 'a'),
    configPath: join(folder, 'c'),
    containerdAddress: join(folder, 's'),
    root: '/var/lib/soci-snapshotter-grpc/',
  };
  const containerdConfigPath = join(folder, 'config.toml');
  using context = new DoctorContext({
    ...paths,
    containerdConfigPath,
    registries: [],
    environment: {},
    log: collectLogs().log,
    nowMs: Date.now,
    system: join(folder, 'system'),
  });
  const verdicts = [await check.run(context, signal)].flat();
  return verdicts
    .map((verdict) =>
      `${verdict.outcome}: ${verdict.message}${verdict.outcome === 'ok' ? '' : ` -> ${verdict.cure}`}`.replaceAll(folder, ''),
    )
    .join('\n');
}

interface Case {
  readonly name: string;
  readonly files: Files;
  readonly plugin?: RegExp;
  readonly cri?: RegExp;
}

const GOOD = { plugin: /^ok: \[proxy_plugins\.soci\] leads to \/run\//, cri: /^ok: CRI uses soci, with annotations$/ };

const cases: readonly Case[] = [
  { name: 'version 2, as containerd 1.6 and 1.7 have it', files: { 'config.toml': `version = 2\n${PLUGIN}${CRI_V2}` }, ...GOOD },
  { name: 'version 3, as containerd 2 has it', files: { 'config.toml': `version = 3\n${PLUGIN}${CRI_V3}` }, ...GOOD },
  { name: 'version 4', files: { 'config.toml': `version = 4\n${PLUGIN}${CRI_V3}` }, ...GOOD },
  {
    name: 'version 1, which is that of a file without one',
    files: { 'config.toml': `${PLUGIN}[plugins.cri.containerd]\nsnapshotter = "soci"\ndisable_snapshot_annotations = false\n` },
    ...GOOD,
  },
  {
    name: 'in files that are imported, each by its own version',
    files: {
      'config.toml': 'version = 3\nimports = ["conf.d/*.toml", "/nowhere/*.toml"]\n',
      'conf.d/10-plugin.toml': `version = 3\n${PLUGIN}`,
      'conf.d/20-cri.toml': `version = 2\n${CRI_V2}`,
    },
    ...GOOD,
  },
  {
    name: 'in a file that imports itself',
    files: { 'config.toml': `version = 2\nimports = ["*.toml"]\n${PLUGIN}${CRI_V2}` },
    ...GOOD,
  },
  {
    name: 'a later file beats an earlier one',
    files: {
      'config.toml': `version = 3\nimports = ["more.toml"]\n${PLUGIN}${CRI_V3}`,
      'more.toml': 'version = 3\n[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "overlayfs"\n',
    },
    cri: /^problem: snapshotter of CRI is "overlayfs": .* -> set snapshotter = "soci" in \[plugins\."io\.containerd\.cri\.v1\.images"\] and restart containerd$/,
  },
  {
    name: 'nothing',
    files: { 'config.toml': 'version = 2\n' },
    plugin:
      /^problem: no \[proxy_plugins\.soci\] in \/config\.toml -> add it with type = "snapshot" and address = "\/run\/.*" and restart containerd$/,
    cri: /^problem: snapshotter of CRI is not set: .* -> set snapshotter = "soci" in \[plugins\."io\.containerd\.grpc\.v1\.cri"\.containerd\]/,
  },
  {
    name: 'without annotations, which is the default',
    files: { 'config.toml': `version = 3\n${PLUGIN}[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "soci"\n` },
    cri: /^problem: CRI uses soci, but does not say which image a layer belongs to: .* -> set disable_snapshot_annotations = false in \[plugins\."io\.containerd\.cri\.v1\.images"\]/,
  },
  {
    name: 'the table of containerd 1 in a file of version 3, where it means nothing',
    files: { 'config.toml': `version = 3\n${PLUGIN}${CRI_V2}` },
    cri: /^problem: snapshotter of CRI is not set/,
  },
  {
    name: 'the table of containerd 2 in a file of version 2, which it reads, too',
    files: { 'config.toml': `version = 2\n${PLUGIN}${CRI_V3}` },
    ...GOOD,
  },
  {
    name: 'a runtime with a snapshotter of its own',
    files: {
      'config.toml': `version = 2\n${PLUGIN}[plugins."io.containerd.grpc.v1.cri".containerd]\ndisable_snapshot_annotations = false\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\nsnapshotter = "soci"\n`,
    },
    cri: /^ok: runtimes of CRI use soci, with annotations$/,
  },
  {
    name: 'the transfer service',
    files: {
      'config.toml': `version = 3\n${PLUGIN}enable_remote_snapshot_annotations = "true"\n[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "soci"\n[[plugins."io.containerd.transfer.v1.local".unpack_config]]\nplatform = "linux"\nsnapshotter = "soci"\n`,
    },
    cri: /^ok: CRI uses soci, by the transfer service, with annotations$/,
  },
  {
    name: 'CRI switched off',
    files: { 'config.toml': `disabled_plugins = ["cri"]\nversion = 2\n${PLUGIN}` },
    cri: /^warning: the CRI plugin is disabled/,
  },
  {
    name: 'another type',
    files: { 'config.toml': `version = 2\n${PLUGIN.replace('"snapshot"', '"content"')}` },
    plugin: /^problem: \[proxy_plugins\.soci\] has type "content" -> set type = "snapshot"/,
  },
  {
    name: 'another address',
    files: { 'config.toml': `version = 2\n${PLUGIN.replace(ADDRESS, '/run/old.sock')}` },
    plugin: /^problem: \[proxy_plugins\.soci\] has address "\/run\/old\.sock", the service is at \/run\/soci-snapshotter-grpc\//,
  },
  {
    name: 'another name',
    files: { 'config.toml': `version = 2\n${PLUGIN.replaceAll('.soci', '.lazy')}` },
    plugin: /^warning: the plugin is called lazy in \/config\.toml -> call it soci/,
  },
  {
    name: 'no root in exports',
    files: { 'config.toml': `version = 2\n${PLUGIN.split('[proxy_plugins.soci.exports]')[0] ?? ''}` },
    plugin: /^warning: .* has no root: .* -> set root = "\/var\/lib\/soci-snapshotter-grpc" and restart containerd$/,
  },
  {
    name: 'broken TOML',
    files: { 'config.toml': 'version = \n' },
    plugin: /^problem: containerd's configuration cannot be read: \/config\.toml:1:\d+: not valid TOML/,
    cri: /^$/,
  },
  { name: 'no file', files: {}, plugin: /^problem: containerd's configuration cannot be read: .*no such file/, cri: /^$/ },
  {
    name: 'an import that is not there',
    files: { 'config.toml': 'version = 2\nimports = ["gone.toml"]\n' },
    plugin: /^problem: containerd's configuration cannot be read: .*gone\.toml/,
  },
  {
    name: 'other types than expected',
    files: { 'config.toml': 'version = "2"\nplugins = 3\nproxy_plugins = [1]\nimports = "x"\n' },
    plugin: /^problem: no /,
  },
];

describe("containerd's configuration", () => {
  for (const { name, files, plugin, cri } of cases) {
    it(name, async (t) => {
      if (plugin !== undefined) assert.match(await look(t, proxyPlugin, files), plugin);
      if (cri !== undefined) assert.match(await look(t, criSettings, files), cri);
    });
  }

  it('matters less where there is no kubelet', async (t) => {
    const files = { 'config.toml': `version = 2\n${PLUGIN}` };
    assert.match(await look(t, criSettings, files, false), /^warning: snapshotter of CRI is not set; there is no kubelet here/);
  });
});
