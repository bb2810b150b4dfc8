#!/usr/bin/env node
// Makes a fresh machine ready for `npm test` and `npm run demo`: npm packages, Debian packages, the build. Runs before anything is installed, so plain JavaScript and built-ins only.
// A second run finds everything in place and does nothing. Flags: --no-build; --packages-only.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const STAMPS = join(ROOT, 'node_modules', '.soci-setup.json');

/** Debian package → a file that shows it is installed. */
const PACKAGES = {
  containerd: '/usr/bin/containerd',
  runc: '/usr/sbin/runc',
  'docker-registry': '/usr/bin/docker-registry',
  'apache2-utils': '/usr/bin/htpasswd',
  'containernetworking-plugins': '/usr/lib/cni/loopback',
  'busybox-static': '/bin/busybox',
  debootstrap: '/usr/sbin/debootstrap',
  openssl: '/usr/bin/openssl',
  attr: '/usr/bin/getfattr',
  gcc: '/usr/bin/gcc',
  'libc6-dev': '/usr/include/pthread.h',
  python3: '/usr/bin/python3',
  'etcd-server': '/usr/bin/etcd',
  'nats-server': '/usr/sbin/nats-server',
  iproute2: '/usr/sbin/ip',
  'docker-compose': '/usr/bin/docker-compose',
  buildah: '/usr/bin/buildah',
};

const say = (text) => process.stderr.write(`setup: ${text}\n`);

function fail(text) {
  say(text);
  process.exit(1);
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 2, 2], ...options });
  if (result.error) fail(`cannot run ${command}: ${result.error.message}`);
  if (result.status !== 0) fail(`${command} ${args.join(' ')} failed with ${result.status ?? result.signal}`);
}

/** Installs what is missing from Debian, so that none of it starts a service: policy-rc.d says no for as long as this runs. */
function installDebianPackages() {
  const missing = Object.entries(PACKAGES)
    .filter(([, file]) => !existsSync(file))
    .map(([name]) => name);
  if (missing.length === 0) return;
  if (!existsSync('/usr/bin/apt-get')) return say(`not a Debian system: install by hand what end-to-end tests need: ${missing.join(' ')}`);
  if (process.getuid() !== 0) {
    say(`not root: end-to-end tests and the demo need these packages, which start no service when installed like this:`);
    return say(`  sudo apt-get install --no-install-recommends ${missing.join(' ')}`);
  }
  say(`installing Debian packages: ${missing.join(' ')}`);
  const policy = '/usr/sbin/policy-rc.d';
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, '#!/bin/sh\n# Written by the setup of soci while it installs packages.\nexit 101\n', { mode: 0o755 });
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const install = () =>
      spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { stdio: ['ignore', 2, 2], env });
    if (install().status !== 0) {
      run('apt-get', ['update', '-qq']);
      if (install().status !== 0) fail(`apt-get install ${missing.join(' ')} failed: see above`);
    }
  } finally {
    if (ours) rmSync(policy, { force: true });
  }
}

function installNpmPackages(stamps) {
  const wanted = digest([join(ROOT, 'package-lock.json'), ...packageFiles()]);
  if (stamps.npm === wanted && existsSync(join(ROOT, 'node_modules', '.bin', 'node'))) return wanted;
  say('installing npm packages (npm ci)');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  return wanted;
}

function packageFiles() {
  return ['apps', 'libs']
    .flatMap((kind) => readdirSync(join(ROOT, kind)).map((name) => join(ROOT, kind, name, 'package.json')))
    .filter((file) => existsSync(file));
}

function build(stamps) {
  const sources = [
    ...walk(join(ROOT, 'libs')),
    ...walk(join(ROOT, 'apps')),
    ...walk(join(ROOT, 'proto')),
    join(ROOT, 'tsconfig.base.json'),
    join(ROOT, 'buf.gen.yaml'),
  ];
  const wanted = createHash('sha256')
    .update(sources.map((file) => `${file}:${statSync(file).mtimeMs}:${statSync(file).size}`).join('\n'))
    .digest('hex');
  if (stamps.build === wanted && existsSync(join(ROOT, 'apps', 'agent', 'dist', 'main.js'))) return wanted;
  say('building (npm run build)');
  run('npm', ['run', '--silent', 'build']);
  return wanted;
}

/** Source files below a folder; what is generated or installed does not count. */
function walk(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (['node_modules', 'dist', 'gen', 'testdata'].includes(entry.name)) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : entry.isFile() ? [path] : [];
  });
}

function digest(files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(file.slice(ROOT.length)).update(readFileSync(file));
  return hash.digest('hex');
}

function readStamps() {
  try {
    return JSON.parse(readFileSync(STAMPS, 'utf8'));
  } catch {
    return {}; // the first run, or npm ci has just emptied node_modules: everything is to be done
  }
}

function main() {
  if (Number(process.versions.node.split('.')[0]) < 20)
    fail(`Node ${process.versions.node} is too old: 20 or newer is needed to begin with`);
  if (process.platform !== 'linux') fail(`${process.platform} cannot run this: a Linux kernel is what it works with`);
  accessSync(ROOT, constants.W_OK);
  installDebianPackages();
  const stamps = readStamps();
  const npm = installNpmPackages(stamps);
  process.env.PATH = [join(ROOT, 'node_modules', '.bin'), process.env.PATH].join(delimiter);
  const built = process.argv.includes('--no-build') ? stamps.build : build(stamps);
  mkdirSync(dirname(STAMPS), { recursive: true });
  writeFileSync(STAMPS, JSON.stringify({ npm, build: built }));
}

main();
