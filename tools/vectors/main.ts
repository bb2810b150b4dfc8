import { readFile } from 'node:fs/promises';
import { createLogger } from '@soci/log';
import { parseRows } from './row.ts';
import { runRow, type Result } from './run.ts';

const ROW_TIMEOUT_MS = 60_000;

async function main([path]: readonly string[]): Promise<number> {
  if (path === undefined) {
    process.stderr.write('usage: npm run vectors -- FILE\n');
    return 2;
  }
  const log = createLogger({ level: 'fatal' }); // rows are about what is wrong: its warnings are expected
  const results: Result[] = [];
  for (const row of parseRows(await readFile(path, 'utf8'))) results.push(await runRow(row, log, AbortSignal.timeout(ROW_TIMEOUT_MS)));
  process.stdout.write(report(results));
  return results.some(({ kind }) => kind === 'difference') ? 1 : 0;
}

function report(results: readonly Result[]): string {
  const lines: string[] = [];
  for (const result of results) {
    if (result.kind !== 'difference') continue;
    const { row, got } = result;
    lines.push(
      `${row.id} (${row.source}): expected ${JSON.stringify(row.expect)}`,
      `${' '.repeat(row.id.length)} got ${JSON.stringify(got)}`,
    );
  }
  const skipped = Map.groupBy(
    results.filter((result) => result.kind === 'not-run'),
    ({ row, reason }) => `${row.source}: ${reason}`,
  );
  for (const [why, rows] of skipped) lines.push(`not run: ${rows.length} of source ${why}`);
  const ran = results.filter(({ kind }) => kind !== 'not-run');
  lines.push(`${ran.filter(({ kind }) => kind === 'pass').length} of ${ran.length} pass`, '');
  return lines.join('\n');
}

process.exitCode = await main(process.argv.slice(2));
