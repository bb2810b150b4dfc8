export interface BoundedQueueOptions {
  readonly maxRunning: number;
  readonly maxQueued: number;
  /** Running and queued ones of one client. */
  readonly maxQueuedEach: number;
}

interface Task {
  readonly client: string;
  readonly run: () => Promise<void>;
}

/** Runs so many tasks at a time, and lets so many wait; nobody takes all the room. */
export class BoundedQueue {
  readonly #options: BoundedQueueOptions;
  readonly #queued: Task[] = [];
  readonly #each = new Map<string, number>();
  #running = 0;

  constructor(options: BoundedQueueOptions) {
    this.#options = options;
  }

  /**
   * @param run must not reject
   * @returns whether it is run, now or later
   */
  add(client: string, run: () => Promise<void>): boolean {
    const { maxRunning, maxQueued, maxQueuedEach } = this.#options;
    const own = this.#each.get(client) ?? 0;
    if (own >= maxQueuedEach || (this.#running >= maxRunning && this.#queued.length >= maxQueued)) return false;
    this.#each.set(client, own + 1);
    const task = { client, run };
    if (this.#running < maxRunning) void this.#start(task);
    else this.#queued.push(task);
    return true;
  }

  async #start({ client, run }: Task): Promise<void> {
    this.#running++;
    await run();
    this.#running--;
    const left = (this.#each.get(client) ?? 1) - 1;
    if (left === 0) this.#each.delete(client);
    else this.#each.set(client, left);
    const next = this.#queued.shift();
    if (next !== undefined) void this.#start(next);
  }
}
