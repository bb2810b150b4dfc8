import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns';

export type LookupCallback = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;
/** As `lookup` of node:dns with `all`. */
export type Resolver = (hostname: string, options: LookupOptions & { readonly all: true }, callback: LookupCallback) => void;

interface Question {
  readonly hostname: string;
  readonly options: LookupOptions;
  readonly callbacks: LookupCallback[];
}

/**
 * Node resolves names in one of the four threads that also read files and inflate, and cannot take a question back: with a name server that is silent
 * all four would be gone for many seconds.
 */
const MAX_PARALLEL = 2;
/** Beyond that a question is refused: its connection would be given up before its turn came. */
const MAX_WAITING = 256;

/** Resolves names as Node does, one question at a time about each, and few at all. */
export class NameLookup {
  readonly #resolve: Resolver;
  readonly #questions = new Map<string, Question>();
  readonly #waiting: Question[] = [];
  #running = 0;

  constructor(resolve: Resolver = dnsLookup) {
    this.#resolve = resolve;
  }

  lookup(hostname: string, { family = 0, hints = 0 }: LookupOptions, callback: LookupCallback): void {
    const key = `${hostname} ${family} ${hints}`;
    const asked = this.#questions.get(key);
    if (asked !== undefined) {
      asked.callbacks.push(callback);
      return;
    }
    if (this.#waiting.length >= MAX_WAITING) {
      const error = Object.assign(new Error(`${hostname}: too many names are being looked up`), { code: 'EAI_AGAIN' });
      process.nextTick(callback, error, []);
      return;
    }
    const question: Question = { hostname, options: { family, hints }, callbacks: [callback] };
    this.#questions.set(key, question);
    this.#waiting.push(question);
    this.#next();
  }

  #next(): void {
    if (this.#running >= MAX_PARALLEL) return;
    const question = this.#waiting.shift();
    if (question === undefined) return;
    this.#running++;
    const { hostname, options, callbacks } = question;
    this.#resolve(hostname, { ...options, all: true }, (error, addresses) => {
      this.#running--;
      for (const [key, asked] of this.#questions) if (asked === question) this.#questions.delete(key);
      this.#next();
      for (const callback of callbacks) callback(error, error === null ? addresses : []);
    });
  }
}
