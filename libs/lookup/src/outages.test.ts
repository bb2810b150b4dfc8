import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { createUser } from '@nats-io/nkeys';
import { connected, Deployed } from '@soci/bus/testing';
import { parseReference } from '@soci/image';
import { basic, fingerprint, identityToken, type Answer, type Lookup, type SourceChange } from '@soci/keychain';
import { collectLogs } from '@soci/log';
import { freePort, Nats, waitFor } from '@soci/testing';
import { connect, nkeyAuthenticator } from 'nats';
import { BusCredentialSource, serveLookups } from './index.ts';
import { FedSource } from './testing/fed-source.ts';

/** For what takes no time. */
const WAIT_MS = 5_000;

const never = new AbortController().signal;
const RECOVERY_MS = 5_000;

function lookupOf(host: string): Lookup {
  return { host, reference: parseReference(`${host}/team/app:1`), namespaces: [] };
}

function passwordOf(answer: Answer): string {
  const [first] = answer.kind === 'candidates' ? answer.candidates : [];
  return first?.credential.kind === 'basic' ? first.credential.password.reveal() : answer.kind;
}

/** Asks all the time, as reads that wait do. */
async function askOn(source: BusCredentialSource, until: Promise<unknown>): Promise<Map<string, number>> {
  const outcomes = new Map<string, number>();
  const over = new AbortController();
  void until.then(() => over.abort());
  const isOver = (): boolean => over.signal.aborted;
  for (let i = 0; !isOver(); i++) {
    const { kind } = await source.resolve(lookupOf(`r${i}.example`), never); // never held
    outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return outcomes;
}

describe('look-ups while something is away', () => {
  async function start(): Promise<
    {
      deployed: Deployed;
      nats: Nats;
      source: FedSource;
      remote: BusCredentialSource;
      changes: SourceChange[];
      lines: readonly string[];
    } & AsyncDisposable
  > {
    const resources = new AsyncDisposableStack();
    const deployed = resources.use(await Deployed.make(await freePort()));
    const nats = resources.use(await Nats.start(deployed.server));
    const { log, lines } = collectLogs();
    const source = new FedSource();
    const proxy = resources.use(deployed.bus('cri-proxy', 'node-x', log));
    resources.use(serveLookups({ bus: proxy, source }));
    const fetcher = resources.use(deployed.bus('registry-fetcher', 'node-x', log));
    const remote = resources.use(new BusCredentialSource({ bus: fetcher, name: 'cri', log }));
    await connected(proxy, fetcher);
    await waitFor(() => remote.state.kind === 'ready', { timeoutMs: WAIT_MS, what: 'the service to be ready' });
    const changes: SourceChange[] = [];
    remote.onChange((change) => changes.push(change));
    return { deployed, nats, source, remote, changes, lines, [Symbol.asyncDispose]: () => resources.disposeAsync() };
  }

  it('a server that is killed and comes back knowing nothing: held answers go on, others are not ready, and all is well soon after', async () => {
    await using rig = await start();
    rig.source.has(basic('u', 'p'));
    await rig.remote.resolve(lookupOf('held.example'), never);
    const stop = Promise.withResolvers<undefined>();
    const asking = askOn(rig.remote, stop.promise);
    await rig.nats.killHard();
    await waitFor(() => rig.remote.state.kind === 'away', { timeoutMs: WAIT_MS, what: 'the outage to be noticed' });
    assert.equal(passwordOf(await rig.remote.resolve(lookupOf('held.example'), never)), 'p');
    assert.equal((await rig.remote.resolve(lookupOf('other.example'), never)).kind, 'not-ready');
    await new Promise((resolve) => setTimeout(resolve, 3_000)); // long enough for the pauses between attempts to have grown
    rig.changes.length = 0;
    await rig.nats.startAgain();
    const begin = performance.now();
    await waitFor(() => rig.remote.state.kind === 'ready', { timeoutMs: RECOVERY_MS, what: 'the service to be ready again' });
    await waitFor(() => rig.changes.length > 0, { timeoutMs: WAIT_MS, what: 'waiting look-ups to be told' });
    assert.equal(passwordOf(await rig.remote.resolve(lookupOf('other.example'), never)), 'p');
    assert.ok(performance.now() - begin < RECOVERY_MS);
    stop.resolve(undefined);
    const outcomes = await asking;
    assert.equal(outcomes.get('none'), undefined);
    assert.ok((outcomes.get('not-ready') ?? 0) > 0);
    assert.deepEqual(
      rig.changes.flatMap(({ withdrawn }) => withdrawn),
      [],
    );
  });

  it('what was withdrawn meanwhile is found out', async () => {
    await using rig = await start();
    const one = basic('u', 'one');
    rig.source.has(one, basic('u', 'stays'));
    const answer = await rig.remote.resolve(lookupOf('held.example'), never);
    assert.equal(answer.kind, 'candidates');
    const prints = answer.candidates.map(({ credential }) => fingerprint(credential));
    await rig.nats.killHard();
    await waitFor(() => rig.remote.state.kind === 'away', { timeoutMs: WAIT_MS, what: 'the outage to be noticed' });
    rig.source.has(basic('u', 'stays'));
    rig.source.withdraw(one);
    await rig.nats.startAgain();
    await waitFor(() => rig.changes.some(({ withdrawn }) => withdrawn.length > 0), { timeoutMs: RECOVERY_MS, what: 'the change' });
    assert.deepEqual(
      rig.changes.flatMap(({ withdrawn }) => withdrawn),
      prints.slice(0, 1),
    );
    assert.equal(passwordOf(await rig.remote.resolve(lookupOf('held.example'), never)), 'stays');
  });

  it('a service that is started anew, with other credentials: what it gives no more is withdrawn, what it gives still is not', async () => {
    await using deployed = await Deployed.make(await freePort());
    await using resources = new AsyncDisposableStack();
    resources.use(await Nats.start(deployed.server));
    const { log } = collectLogs();
    await using fetcher = deployed.bus('registry-fetcher', 'node-x', log);
    await using remote = new BusCredentialSource({ bus: fetcher, name: 'cri', log });
    const changes: SourceChange[] = [];
    remote.onChange((change) => changes.push(change));
    let prints: readonly string[] = [];
    {
      await using proxy = deployed.bus('cri-proxy', 'node-x', log);
      const source = new FedSource();
      source.has(basic('u', 'stays'), basic('u', 'goes'));
      using served = new DisposableStack();
      served.use(serveLookups({ bus: proxy, source }));
      await waitFor(() => remote.state.kind === 'ready', { timeoutMs: WAIT_MS, what: 'the service to be ready' });
      const answer = await remote.resolve(lookupOf('held.example'), never);
      assert.equal(answer.kind, 'candidates');
      prints = answer.candidates.map(({ credential }) => fingerprint(credential));
    }
    assert.equal((await remote.resolve(lookupOf('other.example'), never)).kind, 'not-ready');
    await using proxy = deployed.bus('cri-proxy', 'node-x', log);
    const source = new FedSource();
    source.has(basic('u', 'stays'));
    using served = new DisposableStack();
    served.use(serveLookups({ bus: proxy, source }));
    await waitFor(() => changes.some(({ withdrawn }) => withdrawn.length > 0), { timeoutMs: RECOVERY_MS, what: 'the change' });
    assert.deepEqual(
      changes.flatMap(({ withdrawn }) => withdrawn),
      prints.slice(1),
    );
  });

  it('a look-up that is answered with what was withdrawn meanwhile is made again', async () => {
    await using rig = await start();
    const old = basic('u', 'old');
    const asked = Promise.withResolvers<undefined>();
    const go = Promise.withResolvers<undefined>();
    rig.source.answer = async () => {
      asked.resolve(undefined);
      await go.promise;
      rig.source.has(basic('u', 'new'));
      return { kind: 'candidates', source: 'cri', candidates: [{ credential: old, entry: 'e' }] };
    };
    const answer = rig.remote.resolve(lookupOf('r.example'), never);
    await asked.promise;
    rig.changes.length = 0;
    rig.source.withdraw(old, ['r.example']);
    await waitFor(() => rig.changes.length > 0, { timeoutMs: WAIT_MS, what: 'the change' });
    go.resolve(undefined);
    assert.equal(passwordOf(await answer), 'new');
  });

  it('an answer is not held for longer than ten minutes', async () => {
    await using deployed = await Deployed.make(await freePort());
    await using resources = new AsyncDisposableStack();
    resources.use(await Nats.start(deployed.server));
    const { log } = collectLogs();
    await using proxy = deployed.bus('cri-proxy', 'node-x', log);
    await using fetcher = deployed.bus('registry-fetcher', 'node-x', log);
    const source = new FedSource();
    source.has(basic('u', 'p'));
    using served = new DisposableStack();
    served.use(serveLookups({ bus: proxy, source }));
    let nowMs = 0;
    await using remote = new BusCredentialSource({ bus: fetcher, name: 'cri', log, monotonicMs: () => nowMs });
    await waitFor(() => remote.state.kind === 'ready', { timeoutMs: WAIT_MS, what: 'the service to be ready' });
    for (const atMs of [0, 1, 599_000, 600_001, 600_002]) {
      nowMs = atMs;
      await remote.resolve(lookupOf('r.example'), never);
    }
    assert.equal(source.lookups.length, 2);
  });
});

describe('secrets on the bus and in logs', () => {
  it('are not found in what somebody who may listen to everything hears', async () => {
    const canaries = ['canary-password-3141592653', 'canary-identity-2718281828', 'canary-registry-1414213562'] as const;
    await using deployed = await Deployed.make(await freePort());
    const administrator = createUser();
    await deployed.admitListener(administrator.getPublicKey());
    await using nats = await Nats.start(deployed.server);
    const ca = await readFile(`${deployed.deployment.path}/ca/ca.crt`, 'utf8');
    const everything = await connect({
      servers: `127.0.0.1:${deployed.port}`,
      tls: { ca },
      authenticator: nkeyAuthenticator(administrator.getSeed()),
    });
    const heard: Buffer[] = [];
    everything.subscribe('>', {
      callback: (_, message) => void heard.push(Buffer.concat([Buffer.from(`${message.subject} ${message.reply ?? ''} `), message.data])),
    });
    await everything.flush();
    const { log, lines } = collectLogs();
    await using proxy = deployed.bus('cri-proxy', 'node-x', log);
    await using fetcher = deployed.bus('registry-fetcher', 'node-x', log);
    const source = new FedSource();
    const [password, identity, registry] = canaries;
    const credentials = [basic('canary-user', password), identityToken(identity)];
    source.answer = ({ host }) => {
      if (host === 'broken.example') throw new Error(`bug with ${registry}`);
      return { kind: 'candidates', source: 'cri', candidates: credentials.map((credential) => ({ credential, entry: 'e' })) };
    };
    using served = new DisposableStack();
    served.use(serveLookups({ bus: proxy, source }));
    await using remote = new BusCredentialSource({ bus: fetcher, name: 'cri', log });
    await waitFor(() => remote.state.kind === 'ready', { timeoutMs: WAIT_MS, what: 'the service to be ready' });
    assert.equal(passwordOf(await remote.resolve(lookupOf('secret-host.example'), never)), password);
    await remote.resolve(lookupOf('broken.example'), never);
    source.withdraw(credentials[0] ?? basic('', ''), ['r.example']);
    await waitFor(() => heard.some((message) => message.includes('changed')), { timeoutMs: WAIT_MS, what: 'the event' });
    await everything.close();
    assert.ok(heard.length >= 8);
    const bus = Buffer.concat(heard);
    for (const canary of [...canaries.slice(0, 2), 'secret-host.example', 'canary-user']) {
      for (const form of formsOf(canary)) assert.ok(!bus.includes(form), `${canary} was heard`);
    }
    const logged = Buffer.from(`${lines.join('\n')}${await nats.log()}`);
    for (const canary of canaries.slice(0, 2))
      for (const form of formsOf(canary)) assert.ok(!logged.includes(form), `${canary} was logged`);
  });
});

/** Plain, percent-encoded, and in base64 at any offset. */
function formsOf(text: string): readonly Buffer[] {
  const base64 = [0, 1, 2].map((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), Buffer.from(text)]).toString('base64');
    return encoded.slice(offset === 0 ? 0 : offset + 1, -4);
  });
  return [text, encodeURIComponent(text), ...base64].map((form) => Buffer.from(form));
}
