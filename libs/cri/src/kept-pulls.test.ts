import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeError } from '@soci/errors';
import { parseReference } from '@soci/image';
import { basic, identityToken, type Answer } from '@soci/keychain';
import { collectLogs } from '@soci/log';
import { CriCredentials, type Login, type PullUnderWay } from './index.ts';
import { KeptPulls } from './kept-pulls.ts';
import type { PulledEntry } from './pulled-entries.ts';
import { RECORD_KIND, type Memory } from './record-layout.ts';
import { RecordMemory } from './record-memory.ts';
import { randomFrom, TornMemory } from './testing/torn-memory.ts';

const SIZE_BYTES = 1 << 20;
const NAMESPACES = ['', 'a', 'b'];
const IMAGES = [
  'registry.example.com/app:1',
  'registry.example.com/app:2',
  'registry.example.com/tool:1',
  'docker.io/library/nginx:latest',
];
const { log } = collectLogs();

function loginOf(number: number): Login {
  const secret = `secret-${number}-`.padEnd(20 + number * 97, 'x');
  if (number === 0) return { kind: 'none' };
  if (number === 1) return { kind: 'broken', reason: 'invalid auth: no base64', serverHost: 'registry.example.com' };
  if (number === 2) return { kind: 'credential', credential: identityToken(secret), serverHost: 'registry.example.com' };
  if (number === 3) return { kind: 'credential', credential: basic('elsewhere', secret), serverHost: 'other.example.com' };
  return { kind: 'credential', credential: basic(`user ${number}`, secret) };
}

/** All that can be asked, with the secrets as text. */
async function answers(credentials: CriCredentials): Promise<unknown> {
  const told: unknown[] = [];
  for (const image of IMAGES) {
    const reference = parseReference(image);
    told.push(credentials.namespacesOf(reference), credentials.namespacesOf(reference, 'succeeded'));
    for (const namespaces of [[], ...NAMESPACES.map((name) => [name]), NAMESPACES])
      told.push(
        await credentials.resolve({ host: reference.host, reference, namespaces }).then(textOf, (error: unknown) => describeError(error)),
      );
  }
  return told;
}

function textOf(answer: Answer): unknown {
  if (answer.kind !== 'candidates') return answer;
  return answer.candidates.map(({ credential, ...rest }) => ({ ...rest, secret: secretOf(credential) }));
}

function secretOf(credential: Extract<Login, { kind: 'credential' }>['credential']): string {
  if (credential.kind === 'anonymous') return '';
  return credential.kind === 'basic' ? `${credential.username}:${credential.password.reveal()}` : credential.token.reveal();
}

function open(memory: Memory, nowMs = Infinity): KeptPulls {
  const kept = KeptPulls.open(memory, log, nowMs);
  assert.ok(kept);
  return kept;
}

describe('CriCredentials after a crash', () => {
  for (const isolation of ['node', 'namespace'] as const) {
    it(`answers as before, whatever happened until then, isolation = "${isolation}"`, async () => {
      const random = randomFrom(isolation === 'node' ? 1 : 2);
      let memory = new TornMemory(SIZE_BYTES);
      let nowMs = 1_000;
      const inUse = new Set<string>();
      const options = {
        isolation,
        nowMs: () => nowMs,
        isInUse: (reference: string) => inUse.has(reference),
        maxEntries: 12,
        maxAgeMs: 3_000,
      };
      let kept = KeptPulls.create(memory, log);
      let credentials = new CriCredentials({ ...options, kept });
      let running: PullUnderWay[] = [];
      const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
      const steps: readonly (() => void)[] = [
        () => running.push(credentials.pullStarted(pick(IMAGES), pick(NAMESPACES), loginOf(random(9)))),
        () => running.splice(random(running.length), 1)[0]?.succeeded(pick(['', `sha256:${'a'.repeat(64)}`, `sha256:${'b'.repeat(64)}`])),
        () => running.splice(random(running.length), 1)[0]?.succeeded(`sha256:${String(random(3)).repeat(64)}`),
        () => running.splice(random(running.length), 1)[0]?.failed(),
        () => credentials.imageRemoved(pick([...IMAGES, `sha256:${String(random(3)).repeat(64)}`])),
        () => void inUse.add(pick(IMAGES)),
        () => void inUse.delete(pick(IMAGES)),
        () => credentials.sweep(),
        () => void (nowMs += random(400)),
      ];
      for (let step = 0; step < 3_000; step++) {
        pick([...steps, ...steps.slice(0, 3)])();
        if (step % 10 > 0) continue;
        const before = await answers(credentials);
        const size = credentials.size;
        credentials[Symbol.dispose]();
        memory = new TornMemory(memory.bytes);
        kept = open(memory, nowMs);
        credentials = new CriCredentials({ ...options, kept });
        running = [];
        assert.equal(credentials.size, size, `step ${step}`);
        assert.deepEqual(await answers(credentials), before, `step ${step}`);
      }
    });
  }

  it('keeps a login whose pull ran until the next pull decides', () => {
    const memory = new TornMemory(SIZE_BYTES);
    const before = new CriCredentials({ kept: KeptPulls.create(memory, log) });
    before.pullStarted(IMAGES[0] ?? '', 'a', loginOf(5));
    before.pullStarted(IMAGES[1] ?? '', 'a', loginOf(6));
    before[Symbol.dispose]();
    const after = new CriCredentials({ kept: open(memory) });
    const names = (image = 0) => after.namespacesOf(parseReference(IMAGES[image] ?? ''));
    after.pullStarted(IMAGES[0] ?? '', 'a', loginOf(5)).failed();
    after.pullStarted(IMAGES[1] ?? '', 'a', loginOf(6)).succeeded('');
    assert.deepEqual([names(0), names(1)], [[], ['a']]);
    after[Symbol.dispose]();
  });

  it('drops a login whose pull ran when no other pull came, but not from what is mounted', () => {
    const memory = new TornMemory(SIZE_BYTES);
    let nowMs = 5_000;
    const inUse = new Set([IMAGES[1]]);
    const options = { nowMs: () => nowMs, isInUse: (reference: string) => inUse.has(reference) };
    const before = new CriCredentials({ ...options, kept: KeptPulls.create(memory, log) });
    for (const image of [0, 1, 2]) before.pullStarted(IMAGES[image] ?? '', 'a', loginOf(5));
    before.pullStarted(IMAGES[3] ?? '', 'a', loginOf(5)).succeeded('');
    before[Symbol.dispose]();
    const after = new CriCredentials({ ...options, kept: open(memory, nowMs) });
    const again = after.pullStarted(IMAGES[2] ?? '', 'a', loginOf(5));
    nowMs += 9 * 60_000;
    after.sweep();
    assert.equal(after.size, 4);
    nowMs += 60_000;
    after.sweep();
    assert.equal(after.size, 3);
    inUse.clear();
    after.sweep();
    assert.equal(after.size, 2, 'one that succeeded and one that runs');
    again.failed();
    after[Symbol.dispose]();
  });

  it('overwrites a secret in the memory as soon as the last entry with it goes', () => {
    const memory = new TornMemory(SIZE_BYTES);
    const credentials = new CriCredentials({ kept: KeptPulls.create(memory, log) });
    for (const image of IMAGES) credentials.pullStarted(image, 'a', loginOf(8)).succeeded('');
    assert.equal(memory.bytes.toString('latin1').split('secret-8-').length, 2, 'it is there once');
    for (const [index, image] of IMAGES.entries()) {
      assert.ok(memory.bytes.includes('secret-8-'), `${index} removed`);
      credentials.imageRemoved(image);
    }
    assert.ok(!memory.bytes.includes('secret-8-'));
    assert.ok(!memory.bytes.includes('xxxx'));
    credentials[Symbol.dispose]();
  });

  it('has nothing after a stop', () => {
    const memory = new TornMemory(SIZE_BYTES);
    const kept = KeptPulls.create(memory, log);
    const credentials = new CriCredentials({ kept });
    for (const image of IMAGES) credentials.pullStarted(image, 'a', loginOf(8)).succeeded('');
    kept.wipe();
    credentials.pullStarted('registry.example.com/late:1', 'a', loginOf(7)).succeeded('');
    credentials[Symbol.dispose]();
    assert.ok(memory.bytes.every((byte) => byte === 0));
    assert.equal(KeptPulls.open(memory, log), undefined);
  });

  it('goes on without it when the memory fails, and leaves nothing that it would not update', () => {
    const memory = new TornMemory(SIZE_BYTES);
    const kept = KeptPulls.create(memory, log);
    const credentials = new CriCredentials({ kept });
    credentials.pullStarted(IMAGES[0] ?? '', 'a', loginOf(8)).succeeded('');
    const write = memory.write.bind(memory);
    let failures = 1;
    memory.write = (from, at) => {
      if (failures-- > 0) throw new Error('no memory');
      write(from, at);
    };
    credentials.pullStarted(IMAGES[1] ?? '', 'a', loginOf(7)).succeeded('');
    assert.equal(credentials.size, 2);
    assert.equal(KeptPulls.open(memory, log), undefined);
    credentials[Symbol.dispose]();
  });
});

describe('KeptPulls', () => {
  interface Expected {
    readonly secret: string;
    readonly imageId: string;
    readonly words: readonly number[];
  }
  const expectedOf = ({ login, imageId, usedMs, sinceMs, rank, isOrphan }: PulledEntry): Expected => ({
    secret: login.kind === 'credential' ? secretOf(login.credential) : login.kind,
    imageId,
    words: [usedMs, sinceMs, rank, isOrphan ? 1 : 0],
  });

  it('is, wherever it is torn, as it was before or after each change; no secret is left that no entry has', () => {
    const random = randomFrom(3);
    const memory = new TornMemory(1 << 17);
    const kept = KeptPulls.create(memory, log);
    const entries = new Map<string, PulledEntry>();
    const states: { readonly writes: number; readonly expected: ReadonlyMap<string, Expected> }[] = [];
    const note = () =>
      states.push({ writes: memory.writes.length, expected: new Map([...entries].map(([key, entry]) => [key, expectedOf(entry)])) });
    note();
    for (let step = 0; step < 300; step++) {
      const entry = makeEntry(random(IMAGES.length), random(NAMESPACES.length), random(9), step);
      const known = entries.get(entry.key);
      if (known === undefined) {
        entries.set(entry.key, entry);
        kept.add(entry);
      } else if (random(3) === 0) {
        entries.delete(entry.key);
        kept.delete(known);
      } else if (random(2) === 0) {
        Object.assign(known, { usedMs: step, rank: step, isOrphan: random(2) === 0 });
        kept.update(known);
      } else {
        Object.assign(known, { usedMs: step, rank: step, imageId: `sha256:${step}`.repeat(1 + random(10)) });
        kept.replace(known);
      }
      note();
    }
    for (let index = 0; index + 1 < states.length; index++) {
      const [before, after] = [states[index], states[index + 1]];
      assert.ok(before !== undefined && after !== undefined);
      for (let cut = before.writes; cut < after.writes; cut++) checkTorn(memory, cut, before.expected, after.expected, random);
    }
  });

  function checkTorn(
    memory: TornMemory,
    cut: number,
    before: ReadonlyMap<string, Expected>,
    after: ReadonlyMap<string, Expected>,
    random: (limit: number) => number,
  ): void {
    const prefix = random(memory.writes[cut]?.bytes.length ?? 0) & ~7; // a word is written at once
    const words = Array.from({ length: 4_096 }, () => random(2) === 0);
    for (const isDone of [() => false, (index: number) => index < prefix, (index: number) => words[index >> 3] ?? false]) {
      const torn = memory.after(cut, isDone);
      const left = new Map(
        open(torn)
          .takeLeft()
          .map((entry) => [entry.key, entry]),
      );
      const secrets = new Set<string>();
      for (const key of new Set([...before.keys(), ...after.keys(), ...left.keys()])) {
        const entry = left.get(key);
        const [was, is] = [before.get(key), after.get(key)];
        const got = entry && expectedOf(entry);
        if (got === undefined) assert.ok(was === undefined || is === undefined, `${key} was lost at write ${cut}`);
        else {
          secrets.add(got.secret);
          assert.ok(was !== undefined || is !== undefined, `${key} came from nowhere at write ${cut}`);
          assert.equal(got.secret, (was ?? is)?.secret);
          assert.ok([was?.imageId, is?.imageId].includes(got.imageId));
          for (const [index, word] of got.words.entries()) assert.ok([was?.words[index], is?.words[index]].includes(word));
        }
      }
      const found = torn.bytes.toString('latin1').match(/secret-\d-/g) ?? [];
      assert.equal(found.length, [...secrets].filter((secret) => secret.includes('secret-')).length, `secrets at write ${cut}`);
    }
  }

  function makeEntry(image: number, namespace: number, number: number, nowMs: number): PulledEntry {
    const memory = new TornMemory(1 << 16);
    const kept = KeptPulls.create(memory, log);
    const credentials = new CriCredentials({ kept, nowMs: () => nowMs });
    credentials.pullStarted(IMAGES[image] ?? '', NAMESPACES[namespace] ?? '', loginOf(number));
    const [entry] = open(memory).takeLeft();
    assert.ok(entry);
    credentials[Symbol.dispose]();
    return entry;
  }

  it('does not take what this program would not write', () => {
    const good = { reference: IMAGES[0], namespace: 'a', imageId: '', kind: 'none' };
    const cases: readonly (readonly [unknown, readonly number[]])[] = [
      [{ ...good, reference: 'nginx' }, [1, 1, 1, 0]],
      [{ ...good, reference: '../../etc' }, [1, 1, 1, 0]],
      [{ ...good, reference: 7 }, [1, 1, 1, 0]],
      [{ ...good, namespace: null }, [1, 1, 1, 0]],
      [{ ...good, imageId: undefined }, [1, 1, 1, 0]],
      [{ ...good, kind: 'basic' }, [1, 1, 1, 0]],
      [{ ...good, kind: 'broken' }, [1, 1, 1, 0]],
      [{ ...good, kind: 'credential', secret: '00'.repeat(16) }, [1, 1, 1, 0]],
      [{ ...good, kind: 'credential', secret: 'toString' }, [1, 1, 1, 0]],
      [good, [NaN, 1, 1, 0]],
      [good, [1, Infinity, 1, 0]],
      [good, [1, 1, -1, 0]],
      [good, [1, 1, 2 ** 60, 0]],
      [[], [1, 1, 1, 0]],
      ['text', [1, 1, 1, 0]],
    ];
    const memory = new TornMemory(1 << 16);
    const records = RecordMemory.create(memory);
    for (const [body, words] of cases) records.add(RECORD_KIND.entry, Buffer.from(JSON.stringify(body)), words);
    records.add(RECORD_KIND.entry, Buffer.from('{"reference'), [1, 1, 1, 0]);
    for (const body of [[], [9, 0, 0, 0, 0], [0, 255, 255, 255, 255, 65], [1, 1, 0, 0, 0, 65, 66]])
      records.add(RECORD_KIND.secret, Buffer.from(body), []);
    records.add(RECORD_KIND.entry, Buffer.from(JSON.stringify(good)), [1, 1, 1, 0]);
    const kept = open(memory);
    assert.deepEqual(
      kept.takeLeft().map(({ reference, namespace }) => [reference, namespace]),
      [[IMAGES[0], 'a']],
    );
    assert.equal(RecordMemory.open(memory)?.found.length, 1, 'the rest is overwritten');
    assert.deepEqual(kept.takeLeft(), []);
  });
});
