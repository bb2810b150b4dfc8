#!/usr/bin/env node
// Lays out what an image has to hold, from a built checkout: `node deploy/image/collect.mjs OUT` fills OUT/node (Node alone) and OUT/<program> for each app and for bus-keys.
// A program gets what it can import and nothing else: its own compiled files, those libs of the workspace and those packages that package.json files lead to.
// Runs while an image is built, where nothing but Node is sure to be there, so plain JavaScript and built-ins only.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..');
/** Programs that are TypeScript as it is written, run by Node itself. */
const TOOLS = { 'bus-keys': 'tools/bus-keys' };
/** Files of packages that no program reads. */
const NOT_NEEDED =
  /\.(d\.[cm]?ts|map|tsbuildinfo|flow)$|\.test\.[cm]?[jt]s$|\/(CHANGELOG|README|HISTORY|AUTHORS)(\.\w+)?$|\/(test|tests|docs|examples?|\.github)$/i;
/** Node comes by itself, once for all images. */
const NODE = /^node-linux-/;

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Copies a folder of the checkout to the same place below `out`, its own node_modules left out. */
function copy(out, folder) {
  const target = join(out, relative(ROOT, folder));
  mkdirSync(dirname(target), { recursive: true });
  cpSync(folder, target, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (source) => {
      const path = source.slice(folder.length);
      return !path.endsWith('/node_modules') && !NOT_NEEDED.test(path);
    },
  });
}

/** Where Node finds a package from a folder; undefined when it is not installed, as with those of other platforms. */
function find(name, from) {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    if (existsSync(join(candidate, 'package.json'))) return candidate;
    if (folder === ROOT || folder === dirname(folder)) return undefined;
  }
}

/** Adds a package and whatever it depends on, once each. */
function addPackage(out, name, from, seen, optional) {
  if (NODE.test(name)) return;
  const link = find(name, from);
  if (link === undefined) {
    if (optional) return;
    throw new Error(`${relative(ROOT, from)} needs ${name}, which is not installed`);
  }
  if (seen.has(link)) return;
  seen.add(link);
  const folder = realpathSync(link);
  if (folder === link) copy(out, folder);
  else {
    for (const part of ['package.json', 'dist']) copy(out, join(folder, part));
    mkdirSync(dirname(join(out, relative(ROOT, link))), { recursive: true });
    symlinkSync(relative(dirname(link), folder), join(out, relative(ROOT, link)));
  }
  addDependencies(out, folder, seen);
}

function addDependencies(out, folder, seen) {
  const { dependencies = {}, optionalDependencies = {}, peerDependencies = {} } = readJson(join(folder, 'package.json'));
  for (const name of Object.keys(dependencies)) addPackage(out, name, folder, seen, name in optionalDependencies);
  for (const name of Object.keys({ ...optionalDependencies, ...peerDependencies })) addPackage(out, name, folder, seen, true);
}

function collectApp(out, name) {
  const folder = join(ROOT, 'apps', name);
  for (const part of ['package.json', 'bin', 'dist']) copy(out, join(folder, part));
  copyRoot(out);
  addDependencies(out, folder, new Set());
}

function collectTool(out, path) {
  const folder = join(ROOT, path);
  if (!existsSync(folder)) return;
  copy(out, folder);
  copyRoot(out);
  const seen = new Set();
  for (const file of readdirSync(folder).filter((entry) => entry.endsWith('.ts') && !entry.endsWith('.test.ts'))) {
    for (const [, name] of readFileSync(join(folder, file), 'utf8').matchAll(
      /^\s*(?:import|export|\})[^'\n]*from '((?:@[\w-]+\/)?[\w-]+)(?:\/[\w/-]+)?'/gm,
    ))
      addPackage(out, name, folder, seen, false);
  }
}

/** By the root's package.json `.js` and `.ts` files outside of packages are ES modules. */
function copyRoot(out) {
  for (const file of ['package.json', 'LICENSE']) cpSync(join(ROOT, file), join(out, file));
}

function collectNode(out) {
  const bin = join(out, 'node_modules', '.bin');
  mkdirSync(bin, { recursive: true });
  cpSync(realpathSync(join(ROOT, 'node_modules', '.bin', 'node')), join(bin, 'node'));
}

const [out] = process.argv.slice(2);
if (out === undefined) throw new Error('usage: collect.mjs OUT');
collectNode(join(out, 'node'));
for (const app of readdirSync(join(ROOT, 'apps'))) collectApp(join(out, app), app);
for (const [name, path] of Object.entries(TOOLS)) collectTool(join(out, name), path);
