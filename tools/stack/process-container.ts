import { mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ChildContainer } from './child-container.ts';
import type { ContainerSpec, Mount } from './container.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const ENTER = join(import.meta.dirname, 'enter.sh');
/** Where the images of this project have it. */
const INSTALLED = '/opt/soci';
/** Mounts are prepared in memory: that must be another file system than the one which is shown. */
const PLACES = '/run/stack';

/**
 * A process that has what a container would have: its own mounts over a view of this machine's files, its user, its capabilities, its environment.
 * This checkout stands where an image would have the programs. It shares processes and network with the others.
 */
export class ProcessContainer extends ChildContainer {
  async start(): Promise<void> {
    const place = join(PLACES, this.name);
    const mounts = [{ source: ROOT, target: INSTALLED, isReadOnly: true }, ...this.spec.mounts];
    for (const { target, source } of mounts) await makePlace(join(place, 'skeleton', target), source);
    for (const folder of ['proc', 'sys', 'dev']) await mkdir(join(place, 'skeleton', folder), { recursive: true });
    await writeFile(join(place, 'mounts'), mounts.map((mount) => mountLine(mount)).join(''));
    const enter = ['--mount', '--propagation', 'private', ENTER, place, rightsOf(this.spec)];
    this.startChild('unshare', [...enter, ...this.#withEnv(this.spec.command)]);
  }

  execCommand(command: readonly string[]): readonly [string, ...string[]] {
    const enter = ['--target', String(this.started.pid), '--mount', '--', 'setpriv', ...rightsOf(this.spec).split(' '), '--'];
    return ['nsenter', ...enter, ...this.#withEnv(command)];
  }

  #withEnv(command: readonly string[]): readonly string[] {
    return ['env', '-i', ...Object.entries(this.spec.env).map(([name, value]) => `${name}=${value}`), ...command];
  }
}

/** Options of setpriv. */
function rightsOf({ user = '0:0', isPrivileged, capabilities }: ContainerSpec): string {
  const [uid = '0', gid = uid] = user.split(':');
  const who = `--reuid=${uid} --regid=${gid} --clear-groups`;
  if (isPrivileged) return who;
  const kept = ['-all', ...capabilities.map((name) => `+${name.toLowerCase()}`)].join(',');
  return `${who} --inh-caps=${kept} --bounding-set=${kept} --no-new-privs`;
}

/** Somewhere to mount upon: a file for a file, a folder for the rest. */
async function makePlace(path: string, source: string | undefined): Promise<void> {
  const isFile = source !== undefined && !(await stat(source)).isDirectory();
  await mkdir(isFile ? dirname(path) : path, { recursive: true });
  if (isFile) await writeFile(path, '');
}

function mountLine({ source, target, isReadOnly = false, options = '' }: Mount): string {
  return source === undefined ? `tmpfs - ${target} ${options}\n` : `bind ${source} ${target} ${isReadOnly ? 'ro' : 'rw'}\n`;
}
