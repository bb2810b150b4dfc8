import { randomUUID } from 'node:crypto';

export interface StoredSecret {
  readonly apiVersion: 'v1';
  readonly kind: 'Secret';
  readonly type: string;
  readonly metadata: {
    readonly namespace: string;
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly creationTimestamp: string;
  };
  readonly data: Readonly<Record<string, string>>;
}

export interface StoreEvent {
  readonly kind: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly version: number;
  readonly object: StoredSecret;
}

/** What of the secrets a request is about. */
export interface Selection {
  readonly namespace: string | undefined;
  readonly type: string | undefined;
}

/** Secrets with the versions and the history of an API server. */
export class KubeStandInStore {
  readonly #secrets = new Map<string, StoredSecret>();
  readonly #listeners = new Set<(event: StoreEvent) => void>();
  #history: StoreEvent[] = [];
  #version = 1;
  /** Changes up to this version are forgotten. */
  #forgotten = 0;

  /** Of the last change of anything. */
  get version(): number {
    return this.#version;
  }

  get forgotten(): number {
    return this.#forgotten;
  }

  get(namespace: string, name: string): StoredSecret | undefined {
    return this.#secrets.get(`${namespace}/${name}`);
  }

  select(selection: Selection): readonly StoredSecret[] {
    const keys = [...this.#secrets.keys()].sort();
    return keys.flatMap((key) => this.#secrets.get(key) ?? []).filter((secret) => isSelected(secret, selection));
  }

  put(namespace: string, name: string, type: string, data: Readonly<Record<string, string>>): StoredSecret {
    const before = this.get(namespace, name);
    const version = ++this.#version;
    const uid = before?.metadata.uid ?? randomUUID();
    const creationTimestamp = before?.metadata.creationTimestamp ?? new Date().toISOString();
    const metadata = { namespace, name, uid, resourceVersion: String(version), creationTimestamp };
    const object: StoredSecret = { apiVersion: 'v1', kind: 'Secret', type, metadata, data };
    this.#secrets.set(`${namespace}/${name}`, object);
    this.#happened({ kind: before === undefined ? 'ADDED' : 'MODIFIED', version, object });
    return object;
  }

  delete(namespace: string, name: string): StoredSecret | undefined {
    const before = this.get(namespace, name);
    if (before === undefined) return undefined;
    this.#secrets.delete(`${namespace}/${name}`);
    const version = ++this.#version;
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } };
    this.#happened({ kind: 'DELETED', version, object });
    return object;
  }

  /** Something that is no secret has changed. */
  touch(): void {
    this.#version++;
  }

  /** Forgets its history: versions given until now are too old for a watch, save the last one. */
  compact(): void {
    this.#history = [];
    this.#forgotten = this.#version;
  }

  /** All is gone, and versions are counted anew. */
  clear(): void {
    this.#secrets.clear();
    this.#history = [];
    this.#version = 1;
    this.#forgotten = 0;
  }

  since(version: number, selection: Selection): readonly StoreEvent[] {
    return this.#history.filter((event) => event.version > version && isSelected(event.object, selection));
  }

  subscribe(listener: (event: StoreEvent) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  #happened(event: StoreEvent): void {
    this.#history.push(event);
    for (const listener of this.#listeners) listener(event);
  }
}

export function isSelected(secret: StoredSecret, { namespace, type }: Selection): boolean {
  return (namespace === undefined || secret.metadata.namespace === namespace) && (type === undefined || secret.type === type);
}
