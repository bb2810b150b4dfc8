import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { connected, Deployed } from '@soci/bus/testing';
import { InProcessBus, type Bus } from '@soci/bus';
import { parseReference } from '@soci/image';
import {
  ANONYMOUS,
  basic,
  fingerprint,
  identityToken,
  KeychainError,
  registryToken,
  type Answer,
  type Lookup,
  type SourceChange,
} from '@soci/keychain';
import { collectLogs } from '@soci/log';
import { freePort, Nats, waitFor } from '@soci/testing';
import { BusCredentialSource, RemoteNamespaces, serveLookups } from './index.ts';
import { FedSource } from './testing/fed-source.ts';

/** For what takes no time. */
const WAIT_MS = 5_000;

interface Ends extends AsyncDisposable {
  readonly asker: Bus;
  readonly answerer: Bus;
}

const never = new AbortController().signal;

function lookupOf(host: string, namespaces: readonly string[] = []): Lookup {
  return { host, reference: parseReference(`${host}/team/app:1`), namespaces };
}

async function passwords(answer: Answer): Promise<readonly string[]> {
  assert.equal(answer.kind, 'candidates');
  return await Promise.resolve(
    answer.candidates.map(({ credential }) => {
      if (credential.kind === 'anonymous') return 'anonymous';
      return credential.kind === 'basic' ? `${credential.username}:${credential.password.reveal()}` : credential.token.reveal();
    }),
  );
}

function suite(name: string, open: () => Promise<Ends>): void {
  describe(`look-ups over a bus: ${name}`, () => {
    async function start(
      source = new FedSource(),
    ): Promise<AsyncDisposable & { source: FedSource; remote: BusCredentialSource; ends: Ends; changes: SourceChange[] }> {
      const resources = new AsyncDisposableStack();
      const ends = resources.use(await open());
      resources.use(serveLookups({ bus: ends.answerer, source }));
      const { log } = collectLogs();
      const remote = resources.use(new BusCredentialSource({ bus: ends.asker, name: source.name as 'cri', log }));
      await waitFor(() => remote.state.kind === 'ready', { timeoutMs: WAIT_MS, what: 'the service to be ready' });
      const changes: SourceChange[] = [];
      remote.onChange((change) => changes.push(change));
      return { source, remote, ends, changes, [Symbol.asyncDispose]: () => resources.disposeAsync() };
    }

    it('gives every kind of credential as the source has it', async () => {
      await using rig = await start();
      rig.source.has(basic('u', Buffer.from([0x70, 0xff, 0x00])), identityToken('idt'), registryToken('rt'), basic('', ''), ANONYMOUS);
      const answer = await rig.remote.resolve(lookupOf('r.example'), never);
      assert.equal(answer.kind, 'candidates');
      assert.equal(answer.source, 'cri');
      const [first] = answer.candidates;
      assert.deepEqual(
        first?.credential.kind === 'basic' && Buffer.from(first.credential.password.revealBytes()),
        Buffer.from([0x70, 0xff, 0x00]),
      );
      assert.deepEqual((await passwords(answer)).slice(1), ['idt', 'rt', ':', 'anonymous']);
      assert.deepEqual(
        answer.candidates.map(({ entry }) => entry),
        ['entry 0', 'entry 1', 'entry 2', 'entry 3', 'entry 4'],
      );
    });

    it('asks for the host, image and namespaces it was asked for', async () => {
      await using rig = await start();
      await rig.remote.resolve(lookupOf('r.example:5000', ['b', 'a']), never);
      const [seen] = rig.source.lookups;
      assert.deepEqual(
        [seen?.host, seen?.reference.canonical(), seen?.namespaces],
        ['r.example:5000', 'r.example:5000/team/app:1', ['b', 'a']],
      );
    });

    it('tells none, not ready and failed apart', async () => {
      await using rig = await start();
      rig.source.answer = () => ({ kind: 'none', reason: 'no pull of it' });
      assert.deepEqual(await rig.remote.resolve(lookupOf('r.example'), never), { kind: 'none', reason: 'no pull of it' });
      rig.source.answer = () => ({ kind: 'not-ready', reason: 'first list' });
      assert.deepEqual(await rig.remote.resolve(lookupOf('r.example'), never), { kind: 'not-ready', reason: 'first list' });
      rig.source.answer = () => Promise.reject(new KeychainError('CONFIG_INVALID', 'cannot be decoded'));
      await assert.rejects(rig.remote.resolve(lookupOf('r.example'), never), {
        name: 'KeychainError',
        code: 'CONFIG_INVALID',
        message: 'cannot be decoded',
      });
      rig.source.answer = () => Promise.reject(new Error('canary of a bug'));
      const answer = await rig.remote.resolve(lookupOf('r.example'), never);
      assert.equal(answer.kind, 'not-ready');
      assert.doesNotMatch(JSON.stringify(answer), /canary/);
    });

    it('passes on what is withdrawn, by the fingerprint that this side has', async () => {
      await using rig = await start();
      const one = basic('u', 'one');
      rig.source.has(one);
      const answer = await rig.remote.resolve(lookupOf('r.example'), never);
      assert.equal(answer.kind, 'candidates');
      const given = answer.candidates[0]?.credential;
      const print = fingerprint(given ?? ANONYMOUS);
      rig.changes.length = 0;
      rig.source.has(basic('u', 'two'));
      rig.source.withdraw(one, ['r.example']);
      await waitFor(() => rig.changes.length > 0, { timeoutMs: WAIT_MS, what: 'the change' });
      assert.deepEqual(rig.changes, [{ source: 'cri', hosts: ['r.example'], withdrawn: [print] }]);
      assert.deepEqual(await passwords(await rig.remote.resolve(lookupOf('r.example'), never)), ['u:two']);
    });

    it('passes on large changes', async () => {
      await using rig = await start();
      const many = Array.from({ length: 400 }, (_, i) => basic('u', `p${i}`));
      for (let i = 0; i < many.length; i += 5) {
        rig.source.has(...many.slice(i, i + 5));
        await rig.remote.resolve(lookupOf(`r${i}.example`), never);
      }
      rig.source.has();
      rig.changes.length = 0;
      rig.source.tell({ hosts: Array.from({ length: 300 }, (_, i) => `r${i}.example`), withdrawn: many.map(fingerprint) });
      await waitFor(() => new Set(rig.changes.flatMap(({ withdrawn }) => withdrawn)).size === many.length, {
        timeoutMs: WAIT_MS,
        what: 'all of the change',
      });
      assert.equal(rig.changes[0]?.hosts, undefined);
    });

    it('tells the source what a registry refused, with the next look-up', async () => {
      await using rig = await start();
      const one = basic('u', 'one');
      rig.source.has(one);
      const answer = await rig.remote.resolve(lookupOf('r.example'), never);
      assert.equal(answer.kind, 'candidates');
      rig.remote.refused(fingerprint(answer.candidates[0]?.credential ?? ANONYMOUS));
      rig.source.has(basic('u', 'two'));
      assert.deepEqual(await passwords(await rig.remote.resolve(lookupOf('r.example'), never)), ['u:two']);
      assert.deepEqual(rig.source.refusals, [fingerprint(one)]);
    });

    it('knows the namespaces of pulls, and learns of new ones', async () => {
      await using rig = await start();
      const running = ['a'];
      rig.ends.answerer.serve((await import('./methods.ts')).namespacesMethod, (references) =>
        references.map(() => ({ runningOrSucceeded: [...running], succeeded: ['s'] })),
      );
      const { log } = collectLogs();
      using namespaces = new RemoteNamespaces({ bus: rig.ends.asker, source: rig.remote, log });
      const { reference } = lookupOf('r.example');
      assert.deepEqual(namespaces.of(reference), []);
      await namespaces.learn([reference], never);
      assert.deepEqual([namespaces.of(reference), namespaces.of(reference, 'succeeded')], [['a'], ['s']]);
      running.push('b');
      rig.source.tell({ hosts: ['r.example'], withdrawn: [] });
      await waitFor(() => namespaces.of(reference).length === 2, { timeoutMs: WAIT_MS, what: 'the new namespace' });
    });

    it('is not ready when nobody serves', async () => {
      await using ends = await open();
      const { log } = collectLogs();
      await using remote = new BusCredentialSource({ bus: ends.asker, name: 'kubernetes-secrets', log });
      const answer = await remote.resolve(lookupOf('r.example'), never);
      assert.equal(answer.kind, 'not-ready');
      await waitFor(() => remote.state.kind === 'away' && remote.state.reason !== 'not asked yet', {
        timeoutMs: WAIT_MS,
        what: 'the state',
      });
      using namespaces = new RemoteNamespaces({ bus: ends.asker, source: remote, log });
      await assert.rejects(namespaces.learn([lookupOf('r.example').reference], never, 10), { code: 'NOT_READY' });
    });
  });
}

suite('in process', () => {
  const bus = new InProcessBus();
  return Promise.resolve({ asker: bus, answerer: bus, [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose]() });
});

suite('NATS', async () => {
  const resources = new AsyncDisposableStack();
  const deployed = resources.use(await Deployed.make(await freePort()));
  resources.use(await Nats.start(deployed.server));
  const { log } = collectLogs();
  const asker = resources.use(deployed.bus('registry-fetcher', 'node-x', log));
  const answerer = resources.use(deployed.bus('cri-proxy', 'node-x', log));
  await connected(asker, answerer);
  return { asker, answerer, [Symbol.asyncDispose]: () => resources.disposeAsync() };
});

describe('look-ups in process', () => {
  it('pass the very object, and leave it whole', async () => {
    await using bus = new InProcessBus();
    const source = new FedSource();
    const credential = basic('u', 'p');
    source.has(credential);
    using served = new DisposableStack();
    served.use(serveLookups({ bus, source }));
    const { log } = collectLogs();
    const remote = new BusCredentialSource({ bus, name: 'cri', log });
    const answer = await remote.resolve(lookupOf('r.example'), never);
    assert.ok(answer.kind === 'candidates' && answer.candidates[0]?.credential === credential);
    await remote[Symbol.asyncDispose]();
    assert.equal(credential.kind === 'basic' && credential.password.reveal(), 'p');
  });
});
