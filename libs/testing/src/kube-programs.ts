import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Folder of kube-apiserver and kubelet as `tools/kube/build.sh` makes them; PATH is searched after it. */
const FOLDER = process.env['SOCI_TEST_KUBE'];

/** @returns path of a program of a Kubernetes node, undefined where it is not installed */
export function findKubeProgram(name: string): string | undefined {
  const folders = [FOLDER ?? '', ...(process.env['PATH'] ?? '').split(delimiter)].filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Why tests that need them do not run: a text for `skip` of node:test that names what is missing; undefined where all are there. */
export function missingKubePrograms(names: readonly string[] = ['etcd', 'kube-apiserver']): string | undefined {
  const missing = names.filter((name) => findKubeProgram(name) === undefined);
  return missing.length === 0 ? undefined : `not installed, neither in SOCI_TEST_KUBE nor on PATH: ${missing.join(', ')}`;
}

/** @throws where it is not installed: tests ask `missingKubePrograms` first */
export function kubeProgram(name: string): string {
  const path = findKubeProgram(name);
  if (path === undefined) throw new Error(`${name} is not installed`);
  return path;
}
