import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { snapshots } from '@soci/proto';

export type SnapshotInfo = snapshots.Info;
export type SnapshotMount = snapshots.MountsResponse['mounts'][number];

/** containerd's namespace for CRI; a snapshotter itself knows none. */
const NAMESPACE = 'k8s.io';
const CALL_MS = 20_000;

type Callback<T> = (error: ServiceError | null, value: T) => void;

/** The snapshots API of a containerd, or of a snapshotter itself. Calls end after 20 s. */
export class SnapshotsClient implements Disposable {
  readonly #client: snapshots.SnapshotsClient;
  readonly #snapshotter: string;

  /** @param address path of the unix socket */
  constructor(address: string, snapshotter: string) {
    this.#client = new snapshots.SnapshotsClient(`unix:${address}`, credentials.createInsecure());
    this.#snapshotter = snapshotter;
  }

  async list(): Promise<readonly SnapshotInfo[]> {
    const stream = this.#client.list({ snapshotter: this.#snapshotter, filters: [] }, metadata(), deadline());
    const infos: SnapshotInfo[] = [];
    for await (const { info } of stream as AsyncIterable<snapshots.ListSnapshotsResponse>) infos.push(...info);
    return infos;
  }

  async stat(key: string): Promise<SnapshotInfo | undefined> {
    const { info } = await this.#call<snapshots.StatSnapshotResponse>((options, done) =>
      this.#client.stat({ snapshotter: this.#snapshotter, key }, metadata(), options, done),
    );
    return info;
  }

  /** A view that containerd's garbage collector leaves alone. */
  async view(key: string, parent: string): Promise<readonly SnapshotMount[]> {
    const labels = { 'containerd.io/gc.root': new Date().toISOString() };
    const { mounts } = await this.#call<snapshots.ViewSnapshotResponse>((options, done) =>
      this.#client.view({ snapshotter: this.#snapshotter, key, parent, labels }, metadata(), options, done),
    );
    return mounts;
  }

  async remove(key: string): Promise<void> {
    await this.#call((options, done) => this.#client.remove({ snapshotter: this.#snapshotter, key }, metadata(), options, done));
  }

  async cleanup(): Promise<void> {
    await this.#call((options, done) => this.#client.cleanup({ snapshotter: this.#snapshotter }, metadata(), options, done));
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #call<T>(start: (options: { readonly deadline: number }, done: Callback<T>) => unknown): Promise<T> {
    return new Promise((resolve, reject) => {
      start(deadline(), (error, value) => (error === null ? resolve(value) : reject(error)));
    });
  }
}

function metadata(): Metadata {
  const headers = new Metadata();
  headers.set('containerd-namespace', NAMESPACE);
  return headers;
}

function deadline(): { readonly deadline: number } {
  return { deadline: Date.now() + CALL_MS };
}
