import { SnapshotError } from './errors.ts';
import { toLabels } from './labels.ts';
import type { Labels } from './snapshot.ts';

const LABEL_PREFIX = 'labels.';

/**
 * Labels after an update: all of them replaced without a mask or with `labels`, one of them set (or taken away, where the
 * new value is missing or empty) with `labels.<key>`.
 * @throws {SnapshotError} `INVALID_ARGUMENT` for a field that cannot change
 */
export function updatedLabels(before: Labels, given: Labels, mask: readonly string[]): Labels {
  if (mask.length === 0) return given;
  let labels = before;
  for (const path of mask) {
    if (path === 'labels') labels = given;
    else if (path.startsWith(LABEL_PREFIX)) {
      const key = path.slice(LABEL_PREFIX.length);
      labels = toLabels([...Object.entries(labels), [key, given[key] ?? '']]);
    } else throw new SnapshotError('INVALID_ARGUMENT', `field ${path} of a snapshot cannot be updated`);
  }
  return labels;
}
