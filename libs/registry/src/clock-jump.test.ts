import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { basic } from '@soci/keychain';
import { SYSTEM_CLOCK } from './clock.ts';
import { client, referenceTo, signal, sourceOf } from './testing/clients.ts';
import { startGuarded } from './testing/guarded-registry.ts';
import { startWeb } from './testing/web.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
const DAY_MS = 24 * 3_600_000;

/** Intervals pass as ever, the date goes where it is set. */
function clockOf() {
  let wallMs = Date.parse('2026-01-01T00:00:00Z');
  const waits: number[] = [];
  const sleep = (ms: number): Promise<void> => Promise.resolve(void waits.push(ms));
  return { clock: { ...SYSTEM_CLOCK, wallMs: () => wallMs, sleep }, jump: (ms: number) => (wallMs += ms), waits };
}

describe('a clock that jumps', () => {
  for (const [way, ms] of [
    ['forward', 30 * DAY_MS],
    ['back', -30 * DAY_MS],
  ] as const) {
    it(`${way} changes nothing for a token that is in use`, async (t) => {
      const { registry, tokens } = await startGuarded(t);
      const { clock, jump } = clockOf();
      const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')), clock });
      const ask = (): Promise<boolean> => subject.hasBlob(referenceTo(registry.host), DIGEST, signal);
      assert.ok(await ask());
      jump(ms);
      assert.ok(await ask());
      assert.equal(tokens.seen.length, 1);
    });

    it(`${way} leaves a token of use whose server has another date`, async (t) => {
      const issued = new Date(Date.parse('2026-01-01T00:00:00Z') - ms).toISOString();
      const token = { status: 200, body: JSON.stringify({ token: 'token-1', expires_in: 300, issued_at: issued }) };
      const { registry, tokens } = await startGuarded(t, { token: () => token });
      const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')), clock: clockOf().clock });
      for (let i = 0; i < 3; i++) assert.ok(await subject.hasBlob(referenceTo(registry.host), DIGEST, signal));
      assert.ok(tokens.seen.length <= 2);
    });
  }

  it('never makes a wait longer than the longest', async (t) => {
    const { clock, waits } = clockOf();
    const web = await startWeb(t, (_, number) =>
      number === 1
        ? { status: 429, headers: { 'retry-after': 'Thu, 01 Jan 2099 00:00:00 GMT' } }
        : { status: 200, headers: { 'content-length': '1' } },
    );
    const { client: subject } = client(t, { clock, http: { maxWaitMs: 700 } });
    assert.ok(await subject.hasBlob(referenceTo(web.host), DIGEST, signal));
    assert.deepEqual(waits, [700]);
  });
});
