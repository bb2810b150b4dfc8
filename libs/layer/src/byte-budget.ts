interface Waiting {
  readonly bytes: number;
  readonly enter: () => void;
}

/** Lets work in while the bytes that it will hold fit beside those of the others, in the order in which it comes. What is larger than all there is gets in alone. */
export class ByteBudget {
  readonly #limitBytes: number;
  readonly #waiting: Waiting[] = [];
  #heldBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes of all that is in, each counted as no more than the limit. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * @returns what is disposed of to leave; at once where there is room
   * @throws the signal's reason, while it waits
   */
  enter(sizeBytes: number, signal: AbortSignal): Disposable | Promise<Disposable> {
    const bytes = Math.min(sizeBytes, this.#limitBytes);
    if (this.#waiting.length === 0 && this.#fits(bytes)) return this.#hold(bytes);
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const giveUp = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(signal.reason as Error);
        this.#letIn();
      };
      const waiting: Waiting = {
        bytes,
        enter: () => {
          signal.removeEventListener('abort', giveUp);
          resolve(this.#hold(bytes));
        },
      };
      signal.addEventListener('abort', giveUp, { once: true });
      this.#waiting.push(waiting);
    });
  }

  #fits(bytes: number): boolean {
    return this.#heldBytes + bytes <= this.#limitBytes;
  }

  #hold(bytes: number): Disposable {
    this.#heldBytes += bytes;
    let isIn = true;
    return {
      [Symbol.dispose]: () => {
        if (!isIn) return;
        isIn = false;
        this.#heldBytes -= bytes;
        this.#letIn();
      },
    };
  }

  #letIn(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift();
      next.enter();
    }
  }
}
