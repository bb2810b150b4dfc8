import type { Result } from './contest.ts';

export interface Race {
  readonly lazy: Result;
  readonly plain: Result;
  /** Bytes of the image's layers and index as they lie in the registry. */
  readonly total: number;
}

/** Prints what both contestants did, and how many times sooner the lazy one was ready. */
export function printTable({ lazy, plain, total }: Race, out: NodeJS.WritableStream = process.stdout): void {
  const rows = [
    ['', 'soci', 'overlayfs'],
    ['pull', seconds(lazy.pullSeconds), seconds(plain.pullSeconds)],
    ['start to ready line', seconds(lazy.readySeconds), seconds(plain.readySeconds)],
    ['pull + ready', seconds(totalSeconds(lazy)), seconds(totalSeconds(plain))],
    [`fetched of ${megabytes(total)}`, share(lazy, total), share(plain, total)],
    ['requests', String(lazy.requests), String(plain.requests)],
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  out.write('\n');
  for (const row of rows)
    out.write(
      `${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart((widths[column] ?? 0) + 3))).join('')}\n`,
    );
  out.write(`\nready ${(totalSeconds(plain) / totalSeconds(lazy)).toFixed(1)} times sooner\n`);
}

export function totalSeconds({ pullSeconds, readySeconds }: Result): number {
  return pullSeconds + readySeconds;
}

function seconds(value: number): string {
  return `${value.toFixed(2)} s`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function share({ bytes }: Result, total: number): string {
  return `${megabytes(bytes)} (${Math.round((100 * bytes) / total)} %)`;
}
