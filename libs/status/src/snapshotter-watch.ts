import type { HealthCondition, HealthFinding } from './health-report.ts';
import type { SnapshotterView } from './snapshotter-view.ts';

/** What is known of a snapshotter from outside, from before it is opened on. It is told by whoever opens and serves it. */
export class SnapshotterWatch {
  #view: SnapshotterView | undefined;
  #address: string | undefined;
  #metricsAddress: string | undefined;

  /** As soon as it can tell its state; that may be long before all is restored. */
  opened(view: SnapshotterView): void {
    this.#view = view;
  }

  /** When metrics are served. */
  metricsServed(address: string): void {
    this.#metricsAddress = address;
  }

  /** When containerd can connect. */
  serving(address: string): void {
    this.#address = address;
  }

  /** When containerd cannot connect any more: the service stops. */
  stopping(): void {
    this.#address = undefined;
  }

  get view(): SnapshotterView | undefined {
    return this.#view;
  }

  get address(): string | undefined {
    return this.#address;
  }

  get metricsAddress(): string | undefined {
    return this.#metricsAddress;
  }

  /** What must be so before containerd's calls and containers' reads are answered as they should be. */
  conditions(): readonly HealthCondition[] {
    return [
      { name: 'containerd-socket', check: () => this.#socket() },
      { name: 'restore', check: () => this.#restore() },
      { name: 'fuse-read', check: (signal) => this.#read(signal) },
    ];
  }

  #socket(): HealthFinding {
    if (this.#address === undefined) return { ok: false, message: "containerd's socket is not served" };
    return { ok: true, message: `served at ${this.#address}` };
  }

  #restore(): HealthFinding {
    const restore = this.#view?.state().restore;
    if (restore === undefined || restore.phase === 'waiting') return { ok: false, message: 'snapshots are not restored yet' };
    const { phase, restored, total, notRestored } = restore;
    const failures = notRestored.length === 0 ? '' : `, ${notRestored.length} could not be and are tried again on use`;
    const message = `${restored} of ${total} lazy snapshots ${phase === 'finished' ? 'restored' : 'restored so far'}${failures}`;
    return { ok: phase === 'finished', message };
  }

  async #read(signal: AbortSignal): Promise<HealthFinding> {
    const view = this.#view;
    const mode = view?.state().mode;
    if (view === undefined || mode === undefined) return { ok: false, message: 'the kernel is being tried out' };
    if (mode.mode === 'plain') return { ok: true, message: `nothing is served lazily: ${mode.reason}` };
    const begin = performance.now();
    await view.probe(signal);
    return { ok: true, message: `read through the mount in ${Math.ceil(performance.now() - begin)} ms` };
  }
}
