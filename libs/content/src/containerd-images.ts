import { hasCode } from '@soci/errors';
import type { Descriptor } from '@soci/image';
import { images as api } from '@soci/proto';
import { fromContainerd, type ContainerdApi } from './containerd-api.ts';
import { ContentError } from './errors.ts';
import type { ImageRecord, ImageStore } from './image-store.ts';

/** containerd's image service. */
export class ContainerdImages implements ImageStore {
  readonly #api: Pick<ContainerdApi, 'images'>;

  constructor(containerd: Pick<ContainerdApi, 'images'>) {
    this.#api = containerd;
  }

  async get(name: string, signal: AbortSignal): Promise<ImageRecord | undefined> {
    try {
      const { image } = await this.#api.images.get({ name }, { signal });
      return image === undefined ? undefined : toRecord(image);
    } catch (cause) {
      if (hasCode(cause, 'NOT_FOUND')) return undefined;
      throw fromContainerd(`image ${name}`, cause, signal);
    }
  }

  async list(signal: AbortSignal): Promise<readonly ImageRecord[]> {
    try {
      const { images } = await this.#api.images.list({ filters: [] }, { signal });
      return images.map(toRecord);
    } catch (cause) {
      throw fromContainerd('list images', cause, signal);
    }
  }

  async put(record: ImageRecord, signal: AbortSignal): Promise<void> {
    const image = fromRecord(record);
    try {
      await this.#api.images.create({ image, sourceDateEpoch: undefined }, { signal }).catch(async (cause: unknown) => {
        if (!hasCode(cause, 'ALREADY_EXISTS')) throw cause;
        const updateMask = ['target', ...labelPaths(record.labels)];
        await this.#api.images.update({ image, updateMask, sourceDateEpoch: undefined }, { signal });
      });
    } catch (cause) {
      throw fromContainerd(`store image ${record.name}`, cause, signal);
    }
  }

  async label(name: string, labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    const known = await this.get(name, signal);
    if (known === undefined) throw new ContentError('NOT_FOUND', `image ${name}: not in containerd`);
    // With its target, although that does not change: containerd 2 crashes on an update without one.
    const image = fromRecord({ ...known, labels });
    try {
      await this.#api.images.update({ image, updateMask: labelPaths(labels), sourceDateEpoch: undefined }, { signal });
    } catch (cause) {
      throw fromContainerd(`label image ${name}`, cause, signal);
    }
  }
}

function labelPaths(labels: Readonly<Record<string, string>>): string[] {
  return Object.keys(labels).map((key) => `labels.${key}`);
}

function toRecord({ name, target, labels }: api.Image): ImageRecord {
  if (target === undefined) throw new ContentError('STORE_BROKEN', `image ${name}: containerd answers without a target`);
  const { mediaType, digest, size, annotations } = target;
  const descriptor: Descriptor = {
    mediaType,
    digest,
    size: Number(size),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
  return { name, target: descriptor, labels };
}

function fromRecord({ name, target, labels }: ImageRecord): api.Image {
  const { mediaType, digest, size, annotations = {} } = target;
  return api.Image.create({
    name,
    labels: { ...labels },
    target: { mediaType, digest, size: BigInt(size), annotations: { ...annotations } },
  });
}
