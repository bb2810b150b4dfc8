import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { collectLogs, createLogger } from './index.ts';

function only(lines: readonly string[]): Record<string, unknown> {
  assert.equal(lines.length, 1);
  return JSON.parse(lines[0] ?? '') as Record<string, unknown>;
}

describe('createLogger', () => {
  it('writes level words, nine-digit times and one text for an error with its causes', () => {
    const { log, lines } = collectLogs();
    log.warn({ host: 'r.example', error: new Error('outer', { cause: new Error('inner') }) }, 'blob request failed, will retry');
    const line = only(lines);
    assert.equal(line.level, 'warning');
    assert.match(String(line.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    assert.equal(line.msg, 'blob request failed, will retry');
    assert.equal(line.error, 'outer: inner');
  });

  it('redacts well-known keys down to the third level', () => {
    const { log, lines } = collectLogs();
    log.info({ password: 'p1', a: { token: 'p2', b: { secret: 'p3' } } }, 'x');
    assert.doesNotMatch(lines.join(), /p1|p2|p3/);
  });

  it('keeps the fields of a child', () => {
    const { log, lines } = collectLogs();
    log.child({ ref: 'r' }).info('x');
    assert.equal(only(lines).ref, 'r');
  });

  it('shows each line to whoever wants to see them, and writes it', () => {
    const written: string[] = [];
    const seen: string[] = [];
    const log = createLogger({ destination: { write: (line: string) => void written.push(line) }, onLine: (line) => seen.push(line) });
    log.warn({ host: 'registry.example.com' }, 'refused');
    log.debug('not at this level');
    assert.equal(seen.length, 1);
    assert.match(seen[0]!, /"msg":"refused"/);
    assert.deepEqual(written, seen);
  });
});
