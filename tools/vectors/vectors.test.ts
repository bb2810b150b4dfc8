import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { collectLogs } from '@soci/log';
import { parseRows } from './row.ts';
import { runRow } from './run.ts';

const EXPECTED_ROWS = {
  'docker-config': 76,
  challenge: 15,
  token: 15,
  refresh: 10,
  cli: 10,
  'k8s-keyring': 30,
  'k8s-secret': 22,
  cri: 31,
  'kubelet-plugin': 10,
  chain: 9,
};
const file = join(import.meta.dirname, 'testdata/credential-vectors.json');
const rows = parseRows(await readFile(file, 'utf8'));
const signal = new AbortController().signal;
const { log, lines } = collectLogs();
const ran = new Map<string, number>();
const messages: string[] = [];

describe('credential vectors', () => {
  for (const row of rows.filter(({ source }) => source in EXPECTED_ROWS)) {
    it(`${row.id}: ${row.source}`, async () => {
      const result = await runRow(row, log, signal);
      assert.ok(result.kind !== 'not-run');
      ran.set(row.source, (ran.get(row.source) ?? 0) + 1);
      if (typeof result.got.message === 'string') messages.push(result.got.message);
      if (typeof result.got.error === 'string') messages.push(result.got.error);
      if (result.kind === 'difference') assert.deepEqual(result.got, row.expect);
    });
  }

  it('ran every row of these sources', () => {
    assert.deepEqual(Object.fromEntries(ran), EXPECTED_ROWS);
  });

  it('says no secret of any row, in a log line or an error, in whatever form', () => {
    const said = [...lines, ...messages].join('\n');
    assert.ok(lines.length > 0 && messages.length > 0);
    for (const secret of secrets()) {
      for (const form of [
        secret,
        Buffer.from(secret).toString('base64'),
        encodeURIComponent(secret),
        JSON.stringify(secret).slice(1, -1),
      ]) {
        assert.ok(!said.includes(form), `a secret of the vectors was said: ${form}`);
      }
    }
  });

  it('lists a row of a source that nobody knows as not run', async () => {
    const row = { id: 'Z01', source: 'other', input: {}, ref_or_host: '', expect: { kind: 'anonymous' } };
    assert.equal((await runRow(row, log, signal)).kind, 'not-run');
    assert.ok(rows.every(({ source }) => source in EXPECTED_ROWS));
  });
});

describe('npm run vectors', () => {
  it('prints each difference and ends with 1', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'soci-vectors-'));
    t.after(() => rm(directory, { recursive: true }));
    const wrong = ['D01', 'U01', 'H01', 'T01', 'F01'].map((id) => ({ ...rows.find((row) => row.id === id)!, expect: { kind: 'other' } }));
    const path = join(directory, 'rows.json');
    await writeFile(path, JSON.stringify([...wrong, rows[1]]));
    const { code, stdout } = await run(path);
    assert.equal(code, 1);
    for (const { id } of wrong) assert.match(stdout, new RegExp(`^${id} \\(`, 'm'));
    assert.match(stdout, /^1 of 6 pass$/m);
  });
});

/** Passwords, tokens and `auth` values of all rows that ran; those too short to mean anything in a text are left out. */
function secrets(): string[] {
  const found = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [name, member] of Object.entries(value)) {
      if (typeof member === 'string' && /^(?:password|secret|token|auth|identitytoken|registrytoken)$/i.test(name)) {
        found.add(member);
        const [, password = ''] = Buffer.from(member, 'base64').toString('utf8').split(':');
        found.add(password);
      } else if (typeof member === 'string' && member.startsWith('{"')) visit(parsed(member));
      else visit(member);
    }
  };
  for (const row of rows) if (row.source in EXPECTED_ROWS) visit(row.input);
  return [...found].filter((text) => text.length >= 4 && /^[\x20-\x7e]+$/.test(text));
}

/** What a program of a row prints may hold secrets, too. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // rows have programs that print rubbish
  }
}

function run(path: string): Promise<{ readonly code: number; readonly stdout: string }> {
  const args = ['--conditions=@soci/source', join(import.meta.dirname, 'main.ts'), path];
  return new Promise((resolve) => {
    execFile(process.execPath, args, (error, stdout) => resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout }));
  });
}
