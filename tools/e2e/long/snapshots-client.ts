import { type ClientUnaryCall, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { snapshots } from '@soci/proto';

export type SnapshotInfo = snapshots.Info;
export type SnapshotMount = snapshots.MountsResponse['mounts'][number];

/** containerd's namespace for CRI; a snapshotter itself knows none. */
const NAMESPACE = 'k8s.io';
const CALL_MS = 20_000;

/** A server that was away is tried again at once. */
const CHANNEL = { 'grpc.initial_reconnect_backoff_ms': 50, 'grpc.min_reconnect_backoff_ms': 50, 'grpc.max_reconnect_backoff_ms': 100 };

export interface CallChoice {
  /** Called off after so many milliseconds. */
  readonly cancelAfterMs?: number | undefined;
}

type Callback<T> = (error: ServiceError | null, value: T) => void;

/** The snapshots API of a containerd, or of a snapshotter itself. Calls end after 20 s. */
export class SnapshotsClient implements Disposable {
  readonly #client: snapshots.SnapshotsClient;
  readonly #snapshotter: string;

  /** @param address path of the unix socket */
  constructor(address: string, snapshotter: string) {
    this.#client = new snapshots.SnapshotsClient(`unix:${address}`, credentials.createInsecure(), CHANNEL);
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

  async prepare(
    key: string,
    parent: string,
    labels: Readonly<Record<string, string>>,
    choice?: CallChoice,
  ): Promise<readonly SnapshotMount[]> {
    const { mounts } = await this.#call<snapshots.PrepareSnapshotResponse>(
      (options, done) => this.#client.prepare({ snapshotter: this.#snapshotter, key, parent, labels }, metadata(), options, done),
      choice,
    );
    return mounts;
  }

  async mounts(key: string, choice?: CallChoice): Promise<readonly SnapshotMount[]> {
    const { mounts } = await this.#call<snapshots.MountsResponse>(
      (options, done) => this.#client.mounts({ snapshotter: this.#snapshotter, key }, metadata(), options, done),
      choice,
    );
    return mounts;
  }

  async commit(key: string, name: string, labels: Readonly<Record<string, string>>, choice?: CallChoice): Promise<void> {
    await this.#call(
      (options, done) => this.#client.commit({ snapshotter: this.#snapshotter, key, name, labels, parent: '' }, metadata(), options, done),
      choice,
    );
  }

  async remove(key: string, choice?: CallChoice): Promise<void> {
    await this.#call((options, done) => this.#client.remove({ snapshotter: this.#snapshotter, key }, metadata(), options, done), choice);
  }

  async cleanup(choice?: CallChoice): Promise<void> {
    await this.#call((options, done) => this.#client.cleanup({ snapshotter: this.#snapshotter }, metadata(), options, done), choice);
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #call<T>(
    start: (options: { readonly deadline: number }, done: Callback<T>) => ClientUnaryCall,
    { cancelAfterMs }: CallChoice = {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const call = start(deadline(), (error, value) => {
        clearTimeout(timer);
        if (error === null) resolve(value);
        else reject(error);
      });
      const timer = cancelAfterMs === undefined ? undefined : setTimeout(() => call.cancel(), cancelAfterMs);
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
