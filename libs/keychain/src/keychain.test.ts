import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { ImageReference } from '@soci/image';
import { collectLogs } from '@soci/log';
import {
  ANONYMOUS,
  basic,
  fingerprint,
  firstOf,
  identityToken,
  KeychainError,
  parseUserFlag,
  plainWords,
  PullSecretSource,
  Secret,
  SingleFlight,
  StaticSource,
  type Answer,
  type CredentialSource,
  type Lookup,
} from './index.ts';
import { JsonObject, readFirstValue } from './go-json.ts';

const signal = new AbortController().signal;
const none: Answer = { kind: 'none' };
const found: Answer = { kind: 'candidates', source: 'x', candidates: [{ credential: basic('u', 'p'), entry: 'y' }] };

function lookup(host: string): Lookup {
  return { host, reference: new ImageReference({ host, repository: 'a' }), namespaces: [] };
}

function source(name: string, answer: Answer | Error, asked: string[]): CredentialSource {
  return {
    name,
    resolve: () => {
      asked.push(name);
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
  };
}

describe('Secret', () => {
  it('does not print', () => {
    const secret = Secret.of('hunter-2');
    for (const text of [
      String(secret),
      JSON.stringify({ secret }),
      inspect(secret),
      inspect({ a: [basic('u', 'hunter-2')] }, { depth: 9, showHidden: true }),
    ]) {
      assert.doesNotMatch(text, /hunter|68, 75/);
      assert.match(text, /\[redacted\]/);
    }
    assert.equal(secret.reveal(), 'hunter-2');
  });

  it('keeps bytes that are no text, and forgets them when wiped', () => {
    const secret = Secret.of(Uint8Array.of(0xff, 0xfe));
    assert.deepEqual([...secret.revealBytes()], [0xff, 0xfe]);
    secret.wipe();
    assert.deepEqual([...secret.revealBytes()], [0, 0]);
  });
});

describe('fingerprint', () => {
  it('is equal for equal credentials only', () => {
    const prints = [basic('u', 'p'), basic('u', 'q'), basic('up', ''), identityToken('p'), ANONYMOUS].map(fingerprint);
    assert.equal(new Set(prints).size, prints.length);
    assert.equal(fingerprint(basic('u', 'p')), prints[0]);
  });
});

describe('firstOf', () => {
  for (const [name, answers, want] of [
    ['goes on after none', [none, found, none], ['a', 'b']],
    ['ends with candidates', [found, none], ['a']],
    ['ends with a source that is not ready', [{ kind: 'not-ready', reason: 'x' }, found], ['a']],
    ['ends with a failure', [new KeychainError('HELPER_FAILED', 'x'), found], ['a']],
    ['is none when all are', [none, none], ['a', 'b']],
  ] as const) {
    it(name, async () => {
      const asked: string[] = [];
      const chain = firstOf(answers.map((answer, i) => source('abc'.charAt(i), answer, asked)));
      const last =
        want.length === answers.length && answers.at(-1) === none
          ? { kind: 'none', reason: 'a: nothing; b: nothing' }
          : answers[want.length - 1];
      if (last instanceof Error) await assert.rejects(chain.resolve(lookup('r.example'), signal), last);
      else assert.deepEqual(await chain.resolve(lookup('r.example'), signal), last);
      assert.deepEqual(asked, want);
    });
  }
});

describe('StaticSource', () => {
  it('serves its registry under all names of it and no other', async () => {
    const hub = new StaticSource({ name: '--user', credential: basic('u', 'p'), host: 'docker.io' });
    for (const host of ['docker.io', 'index.docker.io', 'registry-1.docker.io'])
      assert.equal((await hub.resolve(lookup(host))).kind, 'candidates');
    for (const host of ['auth.docker.io', 'r.example', 'docker.io.evil.example'])
      assert.equal((await hub.resolve(lookup(host))).kind, 'none');
    const other = new StaticSource({ name: '--user', credential: basic('u', 'p'), host: 'R.example:5000' });
    assert.equal((await other.resolve(lookup('r.example:5000'))).kind, 'candidates');
    assert.equal((await other.resolve(lookup('r.example'))).kind, 'none');
  });
});

describe('parseUserFlag', () => {
  it('keeps the value out of its error', () => {
    assert.throws(
      () => parseUserFlag(':hunter-2'),
      (error: Error) => error instanceof KeychainError && !error.message.includes('hunter'),
    );
  });
});

describe('SingleFlight', () => {
  it('keeps no outcome, neither a good nor a bad one', async () => {
    const flights = new SingleFlight<number>();
    let runs = 0;
    await assert.rejects(
      flights.run('k', signal, () => Promise.reject(new Error('bad'))),
      /bad/,
    );
    assert.equal(await flights.run('k', signal, () => Promise.resolve(++runs)), 1);
    assert.equal(await flights.run('k', signal, () => Promise.resolve(++runs)), 2);
  });

  it('ends the run when the last waiter has left, and starts another for the next', async () => {
    const flights = new SingleFlight<string>();
    const controllers = [new AbortController(), new AbortController()];
    let shared: AbortSignal | undefined;
    const aborted = (): boolean | undefined => shared?.aborted;
    const waiting = controllers.map(({ signal: own }) =>
      flights.run('k', own, (given) => {
        shared = given;
        return new Promise<string>(() => undefined);
      }),
    );
    controllers[0]?.abort(new Error('first'));
    await assert.rejects(waiting[0]!, /first/);
    assert.equal(aborted(), false);
    controllers[1]?.abort(new Error('second'));
    await assert.rejects(waiting[1]!, /second/);
    assert.equal(aborted(), true);
    assert.equal(await flights.run('k', signal, () => Promise.resolve('new')), 'new');
  });
});

describe('readFirstValue', () => {
  it('gives what JSON.parse gives', () => {
    for (const text of ['{"a":[1,-2.5e3,true,null,"\\u00e4\\"\\\\"],"b":{}}', '[]', '"x"', ' 7 ']) {
      const plain = (value: unknown): unknown =>
        value instanceof JsonObject
          ? Object.fromEntries(value.members.map(([name, member]) => [name, plain(member)]))
          : Array.isArray(value)
            ? value.map(plain)
            : value;
      assert.deepEqual(plain(readFirstValue(text)?.value), JSON.parse(text));
    }
  });

  it('refuses what is no JSON, quickly and without quoting it', () => {
    for (const text of [
      '{',
      '{"a"}',
      '{"a":}',
      '[1,]',
      '{"a":1,}',
      '01x',
      '"\u0001"',
      '"secret',
      'secret',
      `"${'\\'.repeat(1_000_001)}`,
      `{"a":"${'s'.repeat(1_000_000)}`,
    ]) {
      assert.throws(
        () => readFirstValue(text),
        (error: Error) => error instanceof SyntaxError && !/secret|sss/.test(error.message),
        text.slice(0, 20),
      );
    }
  });
});

describe('plainWords', () => {
  for (const [output, want] of [
    ['program failed\nmore', 'program failed'],
    ['hunter', ''],
    ['s3cret-1 tok_en', ''],
    ['error: token abcdef expired', 'error: token … expired'],
    ['password=hunter is wrong', ''],
    ['error: token: abcdef expired', 'error: token: … expired'],
    ['Password hunter', 'Password …'],
    ['cannot reach http://u:p@h/ or 10.0.0.1 now', 'cannot reach … or … now'],
    ['{"Secret": "swordfish", "x": 1}', ''],
  ] as const) {
    it(JSON.stringify(output), () => assert.equal(plainWords(output), want));
  }
});

describe('changes of a chain', () => {
  it('are those of each of its sources, until disposed of', () => {
    const { log } = collectLogs();
    const first = new PullSecretSource({ log });
    const second = new PullSecretSource({ log });
    const silent: CredentialSource = { name: 'silent', resolve: () => Promise.resolve({ kind: 'none' }) };
    let told = 0;
    const subscription = firstOf([first, silent, second]).onChange?.(() => (told += 1));
    first.markSynced();
    second.markSynced();
    assert.equal(told, 2);
    subscription?.[Symbol.dispose]();
    first.put({ namespace: 'ns', name: 'pull', type: 'kubernetes.io/dockercfg', document: '{}' });
    assert.equal(told, 2);
  });
});
