import type { DecisionStore } from './decision-store.ts';
import type { ImagePlan, ImagePlanner, ImageRequest } from './image-plan.ts';

export interface ImageDecisionsOptions {
  readonly planner: ImagePlanner;
  /** How long one image may take to be decided; then it is left to the container runtime. */
  readonly timeoutMs: number;
  readonly now?: () => number;
  /** Where decisions outlive this process. Left out: nowhere. */
  readonly decided?: Pick<DecisionStore, 'load' | 'put' | 'addTarget' | 'delete' | 'compact'> | undefined;
}

export interface Decision {
  readonly plan: ImagePlan;
  /** Nobody was told of this plan before. */
  readonly isFirst: boolean;
}

/** A pull asks layer after layer, and unpacks in between. */
const KEPT_MS = 600_000;
/** A layer that is asked for a second time after this belongs to another pull, which may find that the registry is back. */
const RETRY_AFTER_MS = 5_000;
const MAX_IMAGES = 256;

interface Entry {
  readonly reference: string;
  readonly plan: Promise<ImagePlan>;
  readonly stop: AbortController;
  /** Targets that were asked for under this plan. */
  readonly targets: Set<string>;
  waiting: number;
  settled: ImagePlan | undefined;
  settledAt: number;
  usedAt: number;
  isTold: boolean;
}

/** One decision for an image, made once and kept for all layers of a pull. */
export class ImageDecisions {
  readonly #options: ImageDecisionsOptions;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();

  constructor(options: ImageDecisionsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#load();
  }

  /**
   * @param target chain id of the layer that is asked for
   * @throws the signal's reason; the work stops when nobody waits for it any more
   */
  async decide(image: ImageRequest, target: string, signal: AbortSignal): Promise<Decision> {
    signal.throwIfAborted();
    const entry = this.#entryFor(image, target);
    if (!entry.targets.has(target)) this.#options.decided?.addTarget(keyOf(image), target);
    entry.targets.add(target);
    const plan = await this.#wait(entry, signal);
    entry.usedAt = this.#now();
    const isFirst = !entry.isTold;
    entry.isTold = true;
    return { plan, isFirst };
  }

  /** A layer of the image could not be mounted after all: the later ones are left to the runtime too. */
  replace(image: ImageRequest, plan: ImagePlan): void {
    const entry = this.#entries.get(keyOf(image));
    if (entry === undefined) return;
    const now = this.#now();
    this.#options.decided?.put(keyOf(image), image.reference, plan);
    this.#entries.set(keyOf(image), { ...entry, plan: Promise.resolve(plan), settled: plan, settledAt: now, usedAt: now, isTold: true });
  }

  /** The next question about the image is asked afresh, if this plan is still the answer. */
  forget(image: ImageRequest, plan: ImagePlan): void {
    if (this.#entries.get(keyOf(image))?.settled === plan) this.#delete(keyOf(image));
  }

  /** The same for all images of a reference; whoever waits for a decision still gets it. */
  forgetReference(reference: string): void {
    for (const [key, entry] of this.#entries) if (entry.reference === reference) this.#delete(key);
  }

  /** Gives the disk back what is not needed any more. */
  compact(): void {
    this.#options.decided?.compact();
  }

  #entryFor(image: ImageRequest, target: string): Entry {
    const key = keyOf(image);
    const known = this.#entries.get(key);
    this.#entries.delete(key);
    const entry = known !== undefined && this.#isFresh(known, target) ? known : this.#start(image, key);
    this.#entries.set(key, entry); // last in order: least recently used go first
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > MAX_IMAGES && oldest !== undefined) this.#delete(oldest);
    return entry;
  }

  #isFresh({ settled, settledAt, usedAt, targets, stop }: Entry, target: string): boolean {
    if (stop.signal.aborted) return false;
    if (settled === undefined) return true;
    const now = this.#now();
    if (now - usedAt > KEPT_MS) return false;
    return settled.kind === 'lazy' || !targets.has(target) || now - settledAt < RETRY_AFTER_MS;
  }

  #start(image: ImageRequest, key: string): Entry {
    const stop = new AbortController();
    const entry: Entry = {
      reference: image.reference,
      plan: this.#plan(image, stop.signal),
      stop,
      targets: new Set(),
      waiting: 0,
      settled: undefined,
      settledAt: 0,
      usedAt: this.#now(),
      isTold: false,
    };
    entry.plan.then(
      (plan) => {
        entry.settled = plan;
        entry.settledAt = entry.usedAt = this.#now();
        if (this.#entries.get(key) === entry) this.#keep(key, entry, plan);
      },
      () => {
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
      },
    );
    return entry;
  }

  #delete(key: string): void {
    this.#entries.delete(key);
    this.#options.decided?.delete(key);
  }

  #keep(key: string, { reference, targets }: Entry, plan: ImagePlan): void {
    const { decided } = this.#options;
    decided?.put(key, reference, plan);
    for (const target of targets) decided?.addTarget(key, target);
  }

  /** Takes over what an earlier process decided, as old as it is. */
  #load(): void {
    const nowMs = Date.now();
    for (const { key, reference, plan, decidedAtMs, targets } of this.#options.decided?.load(nowMs - KEPT_MS) ?? []) {
      const at = this.#now() - (nowMs - decidedAtMs);
      const common = { reference, plan: Promise.resolve(plan), stop: new AbortController(), waiting: 0, isTold: true };
      this.#entries.set(key, { ...common, targets: new Set(targets), settled: plan, settledAt: at, usedAt: at });
    }
  }

  async #plan(image: ImageRequest, stopped: AbortSignal): Promise<ImagePlan> {
    const { planner, timeoutMs } = this.#options;
    const timeout = AbortSignal.timeout(timeoutMs);
    try {
      return await planner.plan(image, AbortSignal.any([stopped, timeout]));
    } catch (error) {
      stopped.throwIfAborted();
      const reason = timeout.aborted ? `not decided within ${timeoutMs} ms` : 'the image cannot be planned';
      return { kind: 'declined', cause: 'failed', reason, error };
    }
  }

  async #wait(entry: Entry, signal: AbortSignal): Promise<ImagePlan> {
    const { promise: left, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    entry.waiting++;
    try {
      return await Promise.race([entry.plan, left]);
    } finally {
      signal.removeEventListener('abort', onAbort);
      if (--entry.waiting === 0 && entry.settled === undefined) entry.stop.abort(new Error('nobody waits for the image any more'));
    }
  }
}

function keyOf({ reference, manifestDigest, indexDigest = '', namespace }: ImageRequest): string {
  return JSON.stringify([reference, manifestDigest, indexDigest, namespace]);
}
