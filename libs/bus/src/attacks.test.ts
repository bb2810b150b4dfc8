import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCurve, fromCurveSeed } from '@nats-io/nkeys';
import { collectLogs } from '@soci/log';
import { createMetrics } from '@soci/metrics';
import { bus } from '@soci/proto';
import { freePort, Nats } from '@soci/testing';
import { connect, nkeyAuthenticator, type Msg, type NatsConnection } from 'nats';
import { NatsBus } from './nats-bus.ts';
import { bind } from './seal/binding.ts';
import { CurveKey } from './seal/curve-key.ts';
import { seal } from './seal/sealed-body.ts';
import { connected, Deployed } from './testing/deployed.ts';
import { question, sealedMethod } from './testing/methods.ts';

const never = new AbortController().signal;
const method = sealedMethod('secret-syncer');
const about = { reference: 'registry.example.com/app:1', host: 'registry.example.com', namespaces: ['team-a'] };

/** Whoever has the files of one service of one node, and does with them what the service does not. */
class Intruder implements AsyncDisposable {
  readonly connection: NatsConnection;
  readonly violations: string[] = [];
  readonly #directory: string;
  readonly #inbox: string;

  private constructor(connection: NatsConnection, directory: string, inbox: string) {
    this.connection = connection;
    this.#directory = directory;
    this.#inbox = inbox;
    void this.#watch();
  }

  static async with(deployed: Deployed, node: string, service: string): Promise<Intruder> {
    const directory = join(deployed.keysDir(node), service);
    const seed = await readFile(join(directory, 'login.seed'));
    const ca = await readFile(join(directory, 'ca.crt'), 'utf8');
    const connection = await connect({ servers: `127.0.0.1:${deployed.port}`, tls: { ca }, authenticator: nkeyAuthenticator(seed) });
    return new Intruder(connection, directory, `_INBOX.${node}.${service}`);
  }

  async curve(): Promise<CurveKey> {
    return new CurveKey(await readFile(join(this.#directory, 'curve.seed')));
  }

  /** @returns the code of the refusal, or what else came */
  async ask(subject: string, payload: Uint8Array, reply = `${this.#inbox}.${randomBytes(4).toString('hex')}`): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    const subscription = this.connection.subscribe(reply, {
      callback: (error, message) => resolve(error === null ? describe_(message) : error.name),
    });
    await this.connection.flush();
    this.connection.publish(subject, payload, { reply });
    const answer = await Promise.race([promise, sleep(700, 'silence', { ref: false })]);
    subscription.unsubscribe();
    return answer;
  }

  async #watch(): Promise<void> {
    for await (const status of this.connection.status()) if (status.type === 'error') this.violations.push(status.error.message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.close();
  }
}

function describe_({ data, headers }: Msg): string {
  if (headers?.code === 503) return 'nobody';
  const { refusal, sealed } = bus.Reply.decode(data);
  return refusal?.code ?? (sealed === undefined ? 'plain' : 'sealed');
}

describe('the bus of a cluster, with one who has the keys of a node', () => {
  let resources: AsyncDisposableStack;
  let deployed: Deployed;
  let fetcherX: NatsBus;
  let syncer: NatsBus;
  let syncerKey = '';
  let y: Intruder;
  const metrics = createMetrics();
  const { log, lines } = collectLogs();
  const answered: string[] = [];

  before(async () => {
    resources = new AsyncDisposableStack();
    deployed = resources.use(await Deployed.make(await freePort(), ['node-x', 'node-y']));
    resources.use(await Nats.start(deployed.server));
    fetcherX = resources.use(deployed.bus('registry-fetcher', 'node-x', log));
    syncer = resources.use(
      new NatsBus({ servers: [`tls://127.0.0.1:${deployed.port}`], keysDir: deployed.keysDir(), service: 'secret-syncer', log, metrics }),
    );
    await connected(fetcherX, syncer);
    syncer.serve(method, ({ text }, { node }) => {
      answered.push(`${text} of ${node}`);
      return `secret of ${node}`;
    });
    syncerKey = fromCurveSeed(await readFile(join(deployed.keysDir(), 'secret-syncer', 'curve.seed'))).getPublicKey();
    y = resources.use(await Intruder.with(deployed, 'node-y', 'registry-fetcher'));
  });
  after(async () => await resources.disposeAsync());

  async function refusals(reason: string): Promise<number> {
    const line = (await metrics.metrics()).split('\n').find((text) => text.startsWith(`soci_bus_refused_total{reason="${reason}"}`));
    return Number(line?.split(' ')[1] ?? 0);
  }

  function subjectOf(node: string): string {
    return `soci.v1.request.${node}.secret-syncer.secret`;
  }

  interface Forgery {
    readonly node?: string;
    readonly purpose?: string;
    readonly nowMs?: number;
    readonly change?: (binding: bus.Binding) => bus.Binding;
    readonly sealed?: (sealed: bus.Sealed) => bus.Sealed;
    readonly text?: string;
  }

  async function sealedBy(
    who: Intruder,
    { node = 'node-y', nowMs = Date.now(), change = (binding) => binding, sealed = (made) => made, text = 'forged' }: Forgery = {},
  ): Promise<Uint8Array> {
    const binding = change(bind({ service: 'secret-syncer', method: 'secret', node }, 'request', randomBytes(16), about, nowMs));
    const message = method.request.encode(question(text));
    return bus.Request.encode({ sealed: sealed(seal(await who.curve(), syncerKey, binding, message)) }).finish();
  }

  it('answers each node for itself', async () => {
    assert.equal(await fetcherX.request(method, question('honest'), never), 'secret of node-x');
    assert.equal(await y.ask(subjectOf('node-y'), await sealedBy(y)), 'sealed');
  });

  for (const subject of [
    'soci.v1.request.node-x.secret-syncer.secret',
    'soci.v1.request.node-x.cri-proxy.lookup',
    'soci.v1.event.node-x.cri-proxy.changed',
    'soci.v1.event._all.secret-syncer.changed',
    '_INBOX.node-x.registry-fetcher.aaaa',
  ]) {
    it(`the server lets it not publish to ${subject}`, async () => {
      y.violations.length = 0;
      assert.equal(await y.ask(subject, await sealedBy(y, { node: 'node-x' })), 'silence');
      assert.match(y.violations.join(), /Permissions Violation for Publish/i);
    });
  }

  for (const subject of [
    '>',
    '_INBOX.>',
    '_INBOX.node-x.registry-fetcher.>',
    '_INBOX.*.registry-fetcher.>',
    'soci.v1.request.node-x.secret-syncer.*',
    'soci.v1.request.*.*.*',
    'soci.v1.request.node-y.secret-syncer.*',
    'soci.v1.event.node-x.cri-proxy.*',
  ]) {
    it(`the server lets it not subscribe to ${subject}`, async () => {
      const subscription = y.connection.subscribe(subject, { callback: () => undefined });
      assert.match(String(await subscription.closed), /Permissions Violation for Subscription/i);
    });
  }

  it('lets no responder of a node ask, or listen to requests of others', async () => {
    await using proxy = await Intruder.with(deployed, 'node-y', 'cri-proxy');
    for (const subject of [
      'soci.v1.request.node-y.secret-syncer.*',
      'soci.v1.request.node-x.cri-proxy.*',
      '_INBOX.node-y.registry-fetcher.>',
    ]) {
      assert.match(String(await proxy.connection.subscribe(subject, { callback: () => undefined }).closed), /Permissions Violation/i);
    }
    proxy.connection.publish('soci.v1.request.node-y.secret-syncer.secret', 'x', { reply: '_INBOX.node-y.registry-fetcher.a' });
    proxy.connection.publish('_INBOX.node-y.registry-fetcher.a', 'an answer to nothing');
    await proxy.connection.flush();
    await sleep(50);
    assert.equal(proxy.violations.length, 2 + 3);
  });

  const forgeries: readonly { readonly name: string; readonly code: string; readonly forgery: Forgery }[] = [
    { name: 'sealed for another node', code: 'WRONG_NODE', forgery: { node: 'node-x' } },
    { name: 'of another version', code: 'WRONG_VERSION', forgery: { change: (binding) => ({ ...binding, version: 2 }) } },
    {
      name: 'of another method',
      code: 'WRONG_PURPOSE',
      forgery: { change: (binding) => ({ ...binding, purpose: 'secret-syncer/state/request' }) },
    },
    {
      name: 'of another service',
      code: 'WRONG_PURPOSE',
      forgery: { change: (binding) => ({ ...binding, purpose: 'cri-proxy/secret/request' }) },
    },
    {
      name: 'that is an answer',
      code: 'WRONG_PURPOSE',
      forgery: { change: (binding) => ({ ...binding, purpose: 'secret-syncer/secret/answer' }) },
    },
    { name: 'bound to another host', code: 'WRONG_SUBJECT', forgery: { change: (binding) => ({ ...binding, host: 'other.example' }) } },
    {
      name: 'bound to another image',
      code: 'WRONG_SUBJECT',
      forgery: { change: (binding) => ({ ...binding, reference: 'other.example/app:1' }) },
    },
    {
      name: 'bound to other namespaces',
      code: 'WRONG_SUBJECT',
      forgery: { change: (binding) => ({ ...binding, namespaces: ['team-a', 'team-b'] }) },
    },
    { name: 'without an id', code: 'UNREADABLE', forgery: { change: (binding) => ({ ...binding, requestId: Buffer.alloc(0) }) } },
    { name: 'of a clock that is behind', code: 'EXPIRED', forgery: { nowMs: Date.now() - 61_000 } },
    { name: 'of a clock that is ahead', code: 'CLOCK', forgery: { nowMs: Date.now() + 120_000 } },
    {
      name: 'that has expired',
      code: 'EXPIRED',
      forgery: { change: (binding) => ({ ...binding, expiresAtMs: BigInt(Date.now() - 1), issuedAtMs: BigInt(Date.now() - 2) }) },
    },
    {
      name: 'that is good for ever',
      code: 'CLOCK',
      forgery: { change: (binding) => ({ ...binding, expiresAtMs: binding.issuedAtMs + 3_600_000n }) },
    },
    {
      name: 'that is cut',
      code: 'UNREADABLE',
      forgery: { sealed: (made) => ({ ...made, box: made.box.subarray(0, made.box.length - 1) }) },
    },
    { name: 'that is empty', code: 'UNREADABLE', forgery: { sealed: (made) => ({ ...made, box: Buffer.alloc(0) }) } },
    { name: 'that is altered', code: 'UNREADABLE', forgery: { sealed: (made) => ({ ...made, box: flipped(made.box) }) } },
    {
      name: 'that says another sender',
      code: 'UNKNOWN_KEY',
      forgery: { sealed: (made) => ({ ...made, senderKey: createCurve().getPublicKey() }) },
    },
    {
      name: 'to another recipient',
      code: 'UNKNOWN_KEY',
      forgery: { sealed: (made) => ({ ...made, recipientKey: createCurve().getPublicKey() }) },
    },
  ];
  for (const { name, code, forgery } of forgeries) {
    it(`refuses a message ${name}`, async () => {
      const before = await refusals(code);
      const answeredBefore = answered.length;
      assert.equal(await y.ask(subjectOf('node-y'), await sealedBy(y, forgery)), code);
      assert.equal(await refusals(code), before + 1);
      assert.equal(answered.length, answeredBefore);
    });
  }

  it('refuses what was seen before', async () => {
    const message = await sealedBy(y);
    assert.equal(await y.ask(subjectOf('node-y'), message), 'sealed');
    assert.equal(await y.ask(subjectOf('node-y'), message), 'REPLAYED');
  });

  it('refuses what is not sealed, cannot be read, or is too large', async () => {
    assert.equal(await y.ask(subjectOf('node-y'), bus.Request.encode({ plain: Buffer.from('{}') }).finish()), 'NOT_SEALED');
    assert.equal(await y.ask(subjectOf('node-y'), Buffer.from([0xff, 0xff, 0xff])), 'UNREADABLE');
    assert.equal(await y.ask(subjectOf('node-y'), Buffer.alloc(0)), 'NOT_SEALED');
    assert.equal(await y.ask(subjectOf('node-y'), Buffer.alloc(100 << 10)), 'TOO_LARGE');
    assert.equal(await y.ask('soci.v1.request.node-y.secret-syncer.keys', Buffer.from([0xff])), 'UNREADABLE');
  });

  it('does not answer where another listens', async () => {
    const before = await refusals('WRONG_REPLY');
    for (const reply of [
      'soci.v1.event._all.secret-syncer.changed',
      '_INBOX.node-x.registry-fetcher.aaaa',
      '_INBOX.node-y2.registry-fetcher.a',
    ]) {
      y.connection.publish(subjectOf('node-y'), await sealedBy(y), { reply });
    }
    y.connection.publish(subjectOf('node-y'), await sealedBy(y));
    await y.connection.flush();
    await sleep(100);
    assert.equal(await refusals('WRONG_REPLY'), before + 4);
  });

  it('refuses what was sent to the process before this one', async () => {
    const message = await sealedBy(y);
    await sleep(5);
    await syncer[Symbol.asyncDispose]();
    syncer = resources.use(deployed.bus('secret-syncer', undefined, log));
    await connected(syncer);
    syncer.serve(method, () => 'x');
    assert.equal(await y.ask(subjectOf('node-y'), message), 'CLOCK');
    assert.equal(await y.ask(subjectOf('node-y'), await sealedBy(y)), 'sealed');
  });

  it('logs each sender and reason once, and nothing of what was sent', () => {
    const told = lines.filter((line) => line.includes('refused') && line.includes('"reason":"EXPIRED"'));
    assert.equal(told.length, 1);
    assert.match(told[0] ?? '', /"sender":"node-y"/);
    assert.doesNotMatch(lines.join('\n'), /forged|registry\.example\.com|team-a|secret of/);
  });

  it('lets nobody in without a key of its own, without TLS, or without the authority', async () => {
    const servers = `127.0.0.1:${deployed.port}`;
    const directory = join(deployed.keysDir('node-y'), 'registry-fetcher');
    const ca = await readFile(join(directory, 'ca.crt'), 'utf8');
    await assert.rejects(connect({ servers, tls: { ca }, reconnect: false }), /Authorization Violation/i);
    await assert.rejects(
      connect({ servers, tls: {}, reconnect: false, authenticator: nkeyAuthenticator(await readFile(join(directory, 'login.seed'))) }),
    );
    await assert.rejects(connect({ servers, tls: null, reconnect: false }));
  });
});

function flipped(box: Buffer): Buffer {
  const other = Buffer.from(box);
  const last = other.length - 1;
  other[last] = (other[last] ?? 0) ^ 1;
  return other;
}
