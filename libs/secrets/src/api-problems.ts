import { describeError } from '@soci/errors';
import type { Logger } from '@soci/log';
import { SecretsError } from './errors.ts';
import { placeOf, type Scope } from './scope.ts';

export type Verb = 'list' | 'watch';

export interface ApiProblem {
  readonly text: string;
  readonly atMs: number;
}

interface Open {
  /** Problems of the same group are one for the reader of a log. */
  readonly group: string;
  readonly text: string;
}

/** What is wrong with the API at present, over all that follow it. The log says each thing once when it begins and once when it ends. */
export class ApiProblems {
  readonly #log: Logger;
  readonly #nowMs: () => number;
  readonly #onChange: () => void;
  readonly #open = new Map<string, Open>();
  readonly #logged = new Set<string>();
  #last: ApiProblem | undefined;

  constructor({ log, nowMs, onChange }: { readonly log: Logger; readonly nowMs: () => number; readonly onChange: () => void }) {
    this.#log = log;
    this.#nowMs = nowMs;
    this.#onChange = onChange;
  }

  /** One of those there are; a list that fails is told before a watch that does. */
  get current(): string | undefined {
    let watch: string | undefined;
    for (const [key, { text }] of this.#open) {
      if (key.startsWith('list ')) return text;
      watch ??= text;
    }
    return watch;
  }

  /** The last there was, solved or not. */
  get last(): ApiProblem | undefined {
    return this.#last;
  }

  report(scope: Scope, verb: Verb, error: Error): void {
    const isDenied = error instanceof SecretsError && error.code === 'DENIED';
    const place = placeOf(scope);
    const text = isDenied ? `may not ${verb} secrets in ${place}: ${error.message}` : describeError(error);
    const group = isDenied ? `${verb} ${place}` : error instanceof SecretsError ? error.code : error.name;
    this.#open.set(keyOf(scope, verb), { group, text });
    this.#last = { text, atMs: this.#nowMs() };
    if (this.#logged.has(group)) {
      this.#log.debug({ verb, place, error }, 'kubernetes api still fails');
    } else {
      this.#logged.add(group);
      if (isDenied) this.#log.warn({ verb, resource: 'secrets', place, error }, 'a right is missing in the kubernetes api');
      else this.#log.warn({ verb, place, error }, 'kubernetes api cannot be followed, will retry');
    }
    this.#onChange();
  }

  solved(scope: Scope, verb: Verb): void {
    const key = keyOf(scope, verb);
    const open = this.#open.get(key);
    if (open === undefined) return;
    this.#open.delete(key);
    if (![...this.#open.values()].some(({ group }) => group === open.group)) {
      this.#logged.delete(open.group);
      this.#log.info({ verb, place: placeOf(scope), problem: open.text }, 'kubernetes api works again');
    }
    this.#onChange();
  }

  /** Another login or another server: what was wrong with the former does not matter. */
  clear(): void {
    this.#open.clear();
    this.#logged.clear();
  }
}

function keyOf(scope: Scope, verb: Verb): string {
  return `${verb} ${scope.type} ${scope.namespace ?? ''}`;
}
