/** What a figure is held against. */
export type Bound = { readonly atMost: number } | { readonly atLeast: number };

const NAME_WIDTH = 60;
const VALUE_WIDTH = 8;
const UNIT_WIDTH = 5;
const BOUND_WIDTH = 8;

/** Prints the figures of a benchmark as they come: name, figure, bound, pass or fail. Speeds decide no exit code. */
export class Report {
  readonly #out: Pick<NodeJS.WritableStream, 'write'>;
  #failed = 0;
  #count = 0;

  constructor(out: Pick<NodeJS.WritableStream, 'write'>) {
    this.#out = out;
  }

  heading(text: string): void {
    this.#out.write(`\n${text}\n`);
  }

  /** A figure with its bound. @param beside what it was made of, at the end of the line */
  figure(name: string, value: number, unit: string, bound: Bound, beside = ''): void {
    const passes = 'atMost' in bound ? value <= bound.atMost : value >= bound.atLeast;
    this.#count++;
    if (!passes) this.#failed++;
    const limit = 'atMost' in bound ? `<= ${bound.atMost}` : `>= ${bound.atLeast}`;
    this.#line(name, value, unit, `${limit.padEnd(BOUND_WIDTH)} ${passes ? 'pass' : 'FAIL'}   ${beside}`);
  }

  /** A figure that is there to be read beside the others. */
  note(name: string, value: number, unit: string, beside = ''): void {
    this.#line(name, value, unit, beside);
  }

  missing(name: string, why: string): void {
    this.#out.write(`  ${name.padEnd(NAME_WIDTH)} not measured: ${why}\n`);
  }

  end(): void {
    this.#out.write(`\n${this.#count - this.#failed} of ${this.#count} figures within their bounds\n`);
  }

  #line(name: string, value: number, unit: string, rest: string): void {
    const figure = `${formatFigure(value).padStart(VALUE_WIDTH)} ${unit.padEnd(UNIT_WIDTH)}`;
    this.#out.write(`${`  ${name.padEnd(NAME_WIDTH)} ${figure} ${rest}`.trimEnd()}\n`);
  }
}

/** @returns NaN, which is within no bound, when there are no values */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The median of what each round's value is to the same round's other value: rounds lie close together in time, their values share the machine's mood. */
export function medianRatio(values: readonly number[], others: readonly number[]): number {
  return median(values.map((value, round) => value / (others[round] ?? Number.NaN)));
}

/** Three figures that mean something. */
export function formatFigure(value: number): string {
  return value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}
