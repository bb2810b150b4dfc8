import type { SnapshotInfo } from '../snapshot.ts';
import type { Fields } from './filter.ts';

/** What a filter sees of a snapshot: `kind`, `name`, `parent`, and `labels.<key>`, where the rest of the path is the key. */
export function snapshotFields(info: SnapshotInfo): Fields {
  return ([field, ...rest]) => {
    switch (field) {
      case 'kind':
        return info.kind;
      case 'name':
        return info.name;
      case 'parent':
        return info.parent;
      case 'labels':
        return info.labels[rest.join('.')];
      default:
        return undefined;
    }
  };
}
