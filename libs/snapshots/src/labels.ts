import { SnapshotError } from './errors.ts';
import type { Labels } from './snapshot.ts';

/** Labels by which containerd and this snapshotter speak of layers. Their spelling is an interface: other tools read them. */
export const LABEL = {
  /** Chain id of the layer being unpacked; its presence makes a Prepare one of an image layer. */
  target: 'containerd.io/snapshot.ref',
  imageRef: 'containerd.io/snapshot/cri.image-ref',
  manifestDigest: 'containerd.io/snapshot/cri.manifest-digest',
  layerDigest: 'containerd.io/snapshot/cri.layer-digest',
  /** This and the following layers' digests, comma separated, cut to the size limit of a label. */
  imageLayers: 'containerd.io/snapshot/cri.image-layers',
  /** Compressed size of the layer in bytes; written by some clients only. */
  layerSize: 'containerd.io/snapshot/remote/soci.size',
  /** An index the user chose. */
  indexDigest: 'containerd.io/snapshot/remote/soci.index.digest',
  /** Marks a committed snapshot that is served lazily. */
  remote: 'containerd.io/snapshot/remote',
  /** The containerd namespace that pulled the layer. */
  namespace: 'containerd.io/snapshot/remote/namespace',
  hasIndex: 'containerd.io/snapshot/remote/has.soci.index.digest',
  /** Which of the layer's names images is mounted; ours, so that a restart needs nothing but the disk. */
  names: 'containerd.io/snapshot/remote/soci.names',
  uidMapping: 'containerd.io/snapshot/uidmapping',
  gidMapping: 'containerd.io/snapshot/gidmapping',
} as const;

export const REMOTE_LABEL_VALUE = 'remote snapshot';

/** containerd's limit for key and value of one label together, in bytes. */
const MAX_LABEL_BYTES = 4096;
/** Far above what any client sends (about ten), so that one snapshot cannot fill the database. */
const MAX_LABELS = 512;

export function isRemote(labels: Labels): boolean {
  return labels[LABEL.remote] !== undefined;
}

/**
 * Labels as they are stored: those with an empty value are left out, as containerd's store does.
 * @throws {SnapshotError} `INVALID_ARGUMENT` when there are too many or one is too long
 */
export function normalizeLabels(labels: Labels): Labels {
  const entries = Object.entries(labels).filter(([, value]) => value !== '');
  if (entries.length > MAX_LABELS)
    throw new SnapshotError('INVALID_ARGUMENT', `${entries.length} labels, at most ${MAX_LABELS} are stored`);
  for (const [key, value] of entries) {
    const bytes = Buffer.byteLength(key) + Buffer.byteLength(value);
    if (bytes > MAX_LABEL_BYTES) {
      throw new SnapshotError(
        'INVALID_ARGUMENT',
        `label ${key.slice(0, 100)}: key and value take ${bytes} bytes, at most ${MAX_LABEL_BYTES} are stored`,
      );
    }
  }
  return toLabels(entries);
}

/** Entries as an object without a prototype: no label is called `constructor`. */
export function toLabels(entries: Iterable<readonly [string, string]>): Labels {
  const labels: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, value] of entries) labels[key] = value;
  return labels;
}

/** containerd hands keys over as `<namespace>/<number>/<key>`; the header that names the namespace is not always there. */
export function namespaceOfKey(key: string): string | undefined {
  return /^([^/]+)\/\d+\//.exec(key)?.[1];
}
