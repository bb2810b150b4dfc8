/** What a figure is held against. */
export type Bound = { readonly atMost: number } | { readonly atLeast: number };

/** Prints the figures of a benchmark as they come: name, figure, bound, pass or fail. Speeds decide no exit code. */
export class Report {
  readonly #out: NodeJS.WritableStream;
  #failed = 0;
  #count = 0;

  constructor(out: NodeJS.WritableStream) {
    this.#out = out;
  }

  heading(text: string): void {
    this.#out.write(`\n${text}\n`);
  }

  /** A figure with its bound. */
  figure(name: string, value: number, unit: string, bound: Bound): void {
    const passes = 'atMost' in bound ? value <= bound.atMost : value >= bound.atLeast;
    this.#count++;
    if (!passes) this.#failed++;
    const limit = 'atMost' in bound ? `<= ${bound.atMost}` : `>= ${bound.atLeast}`;
    this.#out.write(
      `  ${name.padEnd(58)} ${format(value).padStart(9)} ${unit.padEnd(6)} ${limit.padEnd(10)} ${passes ? 'pass' : 'FAIL'}\n`,
    );
  }

  /** A figure that is there to be read beside the others. */
  note(name: string, value: number, unit: string): void {
    this.#out.write(`  ${name.padEnd(58)} ${format(value).padStart(9)} ${unit}\n`);
  }

  missing(name: string, why: string): void {
    this.#out.write(`  ${name.padEnd(58)} not measured: ${why}\n`);
  }

  end(): void {
    this.#out.write(`\n${this.#count - this.#failed} of ${this.#count} figures within their bounds\n`);
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
