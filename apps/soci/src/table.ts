const MIN_WIDTH = 8;
const PADDING = 4;

/** Left-aligned columns as Go's tabwriter makes them: every cell is padded, the last of a line as well. Width counts characters. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? MIN_WIDTH, characters(cell) + PADDING);
  }
  return rows.map((row) => `${row.map((cell, i) => cell + ' '.repeat((widths[i] ?? 0) - characters(cell))).join('')}\n`).join('');
}

function characters(text: string): number {
  return Array.from(text).length;
}
