import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parseConfig } from '@soci/config';
import { parseComposeFile, type ComposeService } from './compose-file.ts';
import { parseTarget } from './dockerfile.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const COMPOSE = join(ROOT, 'docker-compose.yml');
const DIGEST = /@sha256:[0-9a-f]{64}$/;
/** The v1 program and the plugin, where either is installed. */
const VALIDATORS: readonly (readonly [string, ...string[]])[] = [['docker-compose'], ['docker', 'compose']];

const source = readFileSync(COMPOSE, 'utf8');
const dockerfile = readFileSync(join(ROOT, 'deploy', 'Dockerfile'), 'utf8');
const { services, volumes } = parseComposeFile(source, {});
const service = (name: string): ComposeService => {
  const found = services.get(name);
  assert.ok(found, name);
  return found;
};
const whoMounts = (volume: string): readonly string[] =>
  [...services].filter(([, { volumes: mounts }]) => mounts.some((text) => text.startsWith(`${volume}:`))).map(([name]) => name);

describe('docker-compose.yml', () => {
  it('is understood by docker-compose', (t) => {
    const validator = VALIDATORS.find(([program, ...args]) => spawnSync(program, [...args, 'version']).status === 0);
    if (validator === undefined) {
      t.skip('docker-compose is not installed');
      return;
    }
    const [program, ...args] = validator;
    for (const profile of [[], ['--profile', 'kubernetes', '--profile', 'observe']]) {
      const { status, stderr } = spawnSync(program, [...args, ...profile, '--file', COMPOSE, 'config', '--quiet'], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    }
  });

  it('gives rights to the node alone', () => {
    for (const [name, { privileged, cap_drop: dropped, cap_add: added, security_opt: options, read_only: isReadOnly }] of services) {
      assert.ok(isReadOnly, name);
      assert.equal(privileged, name === 'node', name);
      if (privileged) continue;
      assert.deepEqual([dropped, options], [['ALL'], ['no-new-privileges:true']], name);
      if (name !== 'keys') assert.deepEqual(added, [], name);
    }
  });

  it('runs each of our services as a user of its own, that of its image', () => {
    const users = new Map<string, string>();
    for (const [name, { build, user }] of services) {
      if (build === undefined || name === 'node' || name === 'keys') continue;
      const { user: own } = parseTarget(dockerfile, build.target);
      assert.ok(own !== undefined && !own.startsWith('0'), name);
      assert.equal(user, own, name);
      users.set(own, name);
    }
    assert.equal(users.size, 3);
  });

  it('shows credentials and keys to those whose they are', () => {
    assert.deepEqual(whoMounts('registry-login'), ['keys', 'registry-fetcher']);
    assert.deepEqual(whoMounts('fetcher-keys'), ['keys', 'registry-fetcher']);
    assert.deepEqual(whoMounts('cri-keys'), ['keys', 'cri-proxy']);
    assert.deepEqual(whoMounts('syncer-keys'), ['keys', 'secret-syncer']);
    assert.deepEqual(whoMounts('nats-keys'), ['keys', 'nats']);
    assert.deepEqual(whoMounts('keys'), ['keys']);
    assert.deepEqual(whoMounts('containerd-socket'), ['node', 'cri-proxy']);
    assert.deepEqual(whoMounts('fetcher-socket'), ['keys', 'node', 'registry-fetcher']);
    const withKubeconfig = [...services].filter(([, { volumes: mounts }]) => mounts.some((text) => text.includes('kubeconfig')));
    assert.deepEqual(
      withKubeconfig.map(([name]) => name),
      ['secret-syncer'],
    );
  });

  it('lets only those into a network who have business there', () => {
    const members = (network: string): readonly string[] =>
      [...services].filter(([, { networks }]) => networks.includes(network)).map(([name]) => name);
    assert.deepEqual(members('bus'), ['nats', 'registry-fetcher', 'cri-proxy', 'secret-syncer']);
    assert.deepEqual(members('registries'), ['registry', 'node', 'registry-fetcher']);
    assert.deepEqual(members('cluster'), ['secret-syncer']);
  });

  it('pins what it does not build, checks the health of what runs, and has no order beside the keys', () => {
    for (const [name, { build, image, healthcheck, depends_on: dependencies }] of services) {
      assert.ok(build !== undefined || DIGEST.test(image), name);
      if (name === 'keys') continue;
      assert.ok(healthcheck !== undefined, name);
      assert.deepEqual(Object.keys(dependencies), name === 'node' ? [] : ['keys'], name);
    }
  });

  it('mounts files that are there', () => {
    for (const [name, { volumes: mounts }] of services) {
      for (const text of mounts) {
        const [from = ''] = text.split(':/');
        if (!volumes.includes(from) && !from.endsWith('kubeconfig')) assert.ok(existsSync(join(ROOT, from)), `${name}: ${from}`);
      }
    }
  });

  it('takes variables from the environment', () => {
    const given = parseComposeFile(source, { KUBECONFIG_FILE: '/some/where' });
    assert.ok(given.services.get('secret-syncer')?.volumes.some((text) => text.startsWith('/some/where:')));
  });

  it('is refused when it says what a stack of processes would not do', () => {
    assert.throws(() => parseComposeFile('services: { a: { image: b, pid: host } }\nvolumes: {}\n', {}), /pid/);
    assert.throws(() => parseComposeFile('services: { a: { image: b, cap_drop: [CHOWN] } }\nvolumes: {}\n', {}));
  });
});

describe('the configuration files of the stack', () => {
  const folder = join(ROOT, 'deploy', 'compose', 'config');
  const withSecrets = join(ROOT, 'deploy', 'compose', 'kubernetes', 'registry-fetcher.toml');
  for (const path of [...readdirSync(folder).map((file) => join(folder, file)), withSecrets]) {
    it(`${path.slice(ROOT.length + 1)} has only keys that are known and have an effect`, () => {
      assert.deepEqual(parseConfig(readFileSync(path, 'utf8'), path, { strict: true }).warnings, []);
    });
  }

  it('have the registry-fetcher ask for secrets where there is a cluster, and differ in nothing else', () => {
    const { config } = parseConfig(readFileSync(join(folder, 'registry-fetcher.toml'), 'utf8'), 'config.toml');
    const { config: other } = parseConfig(readFileSync(withSecrets, 'utf8'), 'config.toml');
    assert.deepEqual([config.kubeconfigKeychain.enableKeychain, other.kubeconfigKeychain.enableKeychain], [false, true]);
    assert.deepEqual({ ...other, kubeconfigKeychain: undefined }, { ...config, kubeconfigKeychain: undefined });
  });

  it('have metrics where Prometheus looks for them', () => {
    const targets = readFileSync(join(ROOT, 'deploy', 'compose', 'prometheus.yml'), 'utf8').matchAll(/"([\w-]+):(\d+)"/g);
    const seen = [...targets].map(([, name = '', port]) => {
      assert.equal(parseConfig(readFileSync(join(folder, `${name}.toml`), 'utf8'), name).config.metricsAddress, `0.0.0.0:${port}`);
      assert.ok(service(name).networks.includes('observe'));
      return name;
    });
    assert.deepEqual(
      seen.toSorted(),
      readdirSync(folder)
        .map((file) => file.replace('.toml', ''))
        .toSorted(),
    );
  });
});

describe('the dashboard', () => {
  const text = readFileSync(join(ROOT, 'deploy', 'compose', 'grafana', 'dashboards', 'soci.json'), 'utf8');
  const { panels } = JSON.parse(text) as { panels: readonly { title: string; targets?: readonly { expr: string }[] }[] };

  it('shows series that are documented', () => {
    const documented = readFileSync(join(ROOT, 'docs', 'operations.md'), 'utf8');
    const shown = panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => expr.match(/\bsoci_\w+/g) ?? []));
    assert.ok(shown.length >= 10);
    const series = new Set(
      shown.map((name) => name.replace(/_(bucket|sum|count)$/, (suffix) => (documented.includes(`\`${name}\``) ? suffix : ''))),
    );
    assert.deepEqual(
      [...series].filter((name) => !documented.includes(`\`${name}\``)),
      [],
    );
  });

  it('asks Prometheus what it can parse', (t) => {
    if (!existsSync('/usr/bin/promtool')) {
      t.skip('promtool, of the package prometheus, is not installed');
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), 'soci-dashboard-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const config = spawnSync('promtool', ['check', 'config', join(ROOT, 'deploy', 'compose', 'prometheus.yml')], { encoding: 'utf8' });
    assert.equal(config.status, 0, config.stderr);
    const rules = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr.replaceAll('$__rate_interval', '1m')));
    const file = join(folder, 'rules.yml');
    writeFileSync(
      file,
      JSON.stringify({ groups: [{ name: 'panels', rules: rules.map((expr, at) => ({ record: `panel:${at}`, expr })) }] }),
    );
    const { status, stderr } = spawnSync('promtool', ['check', 'rules', file], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });
});
