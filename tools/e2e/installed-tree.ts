import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from './stack.ts';

const run = promisify(execFile);

/** What was built here, copied to a folder as a package would install it: other versions of it can be put in its place. */
export class InstalledTree {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async install(folder: string, version: string): Promise<InstalledTree> {
    await copyTree(folder, version);
    return new InstalledTree(folder);
  }

  /** The start script of the agent. */
  get agent(): string {
    return join(this.#folder, 'apps', 'agent', 'bin', 'soci-snapshotter-grpc');
  }

  /** Puts another version where this one is. Processes that run go on with what they have loaded. */
  async replace(version: string): Promise<void> {
    await copyTree(`${this.#folder}.next`, version);
    await rename(this.#folder, `${this.#folder}.before`);
    await rename(`${this.#folder}.next`, this.#folder);
  }
}

async function copyTree(folder: string, version: string): Promise<void> {
  for (const part of ['apps/agent', ...(await readdir(join(ROOT, 'libs'))).map((lib) => `libs/${lib}`)]) {
    const [from, to] = [join(ROOT, part), join(folder, part)];
    await mkdir(to, { recursive: true });
    for (const name of ['package.json', 'bin', 'dist', 'node_modules']) {
      if ((await readdir(from)).includes(name)) await cp(join(from, name), join(to, name), { recursive: true, verbatimSymlinks: true });
    }
  }
  await linkPackages(folder);
  const path = join(folder, 'libs', 'process', 'dist', 'version.js');
  const text = (await readFile(path, 'utf8')).replace(/(VERSION = )'[^']*'/, `$1'${version}'`);
  await writeFile(path, text);
}

/** Packages of others are those of the checkout; our own are found beside the programs. */
async function linkPackages(folder: string): Promise<void> {
  const packages = join(folder, 'node_modules');
  await mkdir(packages, { recursive: true });
  for (const name of await readdir(join(ROOT, 'node_modules'))) {
    if (name !== '@soci') await symlink(join(ROOT, 'node_modules', name), join(packages, name));
  }
  await run('cp', ['-a', join(ROOT, 'node_modules', '@soci'), packages]); // relative links
}
