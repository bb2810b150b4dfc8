import type { MountInfo } from '@soci/linux';

/**
 * Where a snapshot's directory is mounted by somebody who looks at it: as a layer of an overlay, which is how containers have it, or bound to another place.
 * The snapshot's own layer, mounted on the directory itself, is none of these.
 *
 * An overlay of very many layers names them by paths relative to a directory that the mount table does not tell; its upper directory it names in full, so that the
 * snapshot of the container is found, and that one holds the layers below it.
 *
 * @param directory `<root>/snapshots/<id>/fs`
 */
export function mountedOver(directory: string, mounts: readonly MountInfo[]): readonly string[] {
  return mounts
    .filter((mount) => mount.mountPoint !== directory && (isLayerOf(directory, mount) || isBound(directory, mount)))
    .map(({ mountPoint }) => mountPoint);
}

function isLayerOf(directory: string, { type, superOptions }: MountInfo): boolean {
  if (type !== 'overlay') return false;
  return superOptions.some((option) => {
    const [key, value = ''] = splitOnce(option, '=');
    if (key === 'upperdir') return value === directory;
    return (key === 'lowerdir' || key === 'lowerdir+') && value.split(':').includes(directory);
  });
}

/** The root of a bind mount is told without the place where its filesystem is mounted. */
function isBound(directory: string, { root }: MountInfo): boolean {
  const ownPath = directory.split('/').slice(-3).join('/'); // snapshots/<id>/fs
  return root.endsWith(`/${ownPath}`) && directory.endsWith(root);
}

function splitOnce(text: string, separator: string): readonly [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
}
