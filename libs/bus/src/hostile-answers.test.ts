import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createAccount, createCurve, fromSeed, type KeyPair } from '@nats-io/nkeys';
import { collectLogs } from '@soci/log';
import { bus } from '@soci/proto';
import { freePort, Nats } from '@soci/testing';
import { connect, nkeyAuthenticator } from 'nats';
import { signStatement } from './keys/key-statement.ts';
import type { NatsBus } from './nats-bus.ts';
import { bind } from './seal/binding.ts';
import { CurveKey } from './seal/curve-key.ts';
import { open, seal } from './seal/sealed-body.ts';
import { connected, Deployed } from './testing/deployed.ts';
import { question, sealedMethod } from './testing/methods.ts';

const never = new AbortController().signal;
const method = sealedMethod('secret-syncer');

/** What a service that has gone over to the other side answers with. */
interface Hostility {
  signing?: KeyPair;
  nonce?: (nonce: Buffer) => Buffer;
  statedFor?: string;
  nowMs?: number;
  signature?: (signature: Buffer) => Buffer;
  reply?: (sealed: bus.Sealed) => bus.Reply;
  sealedBy?: CurveKey;
  binding?: (binding: bus.Binding) => bus.Binding;
  message?: Buffer;
}

describe('a service that answers wrongly', () => {
  let resources: AsyncDisposableStack;
  let fetcher: NatsBus;
  let hostility: Hostility = {};
  const { log, lines } = collectLogs();

  before(async () => {
    resources = new AsyncDisposableStack();
    const deployed = resources.use(await Deployed.make(await freePort()));
    resources.use(await Nats.start(deployed.server));
    const folder = join(deployed.keysDir(), 'secret-syncer');
    const curve = new CurveKey(await readFile(join(folder, 'curve.seed')));
    const signing = fromSeed(await readFile(join(folder, 'signing.seed')));
    const ca = await readFile(join(folder, 'ca.crt'), 'utf8');
    const authenticator = nkeyAuthenticator(await readFile(join(folder, 'login.seed')));
    const connection = await connect({ servers: `127.0.0.1:${deployed.port}`, tls: { ca }, authenticator });
    resources.defer(async () => await connection.close());
    connection.subscribe('soci.v1.request.*.secret-syncer.*', {
      callback: (_, message) => {
        const { plain, sealed } = bus.Request.decode(message.data);
        if (plain !== undefined) message.respond(bus.Reply.encode(statement(plain, signing, curve.publicKey)).finish());
        if (sealed !== undefined) message.respond(bus.Reply.encode(reply(sealed, curve)).finish());
      },
    });
    await connection.flush();
    fetcher = resources.use(deployed.bus('registry-fetcher', 'node-x', log));
    await connected(fetcher);
  });
  after(async () => await resources.disposeAsync());

  function statement(request: Buffer, signing: KeyPair, current: string): bus.Reply {
    const { nonce } = bus.GetKeysRequest.decode(request);
    const { statedFor = 'node-x', nowMs = Date.now() } = hostility;
    const context = { service: 'secret-syncer', node: statedFor, nonce: hostility.nonce?.(nonce) ?? nonce } as const;
    const made = signStatement(hostility.signing ?? signing, { current, next: undefined }, context, nowMs);
    const signature = hostility.signature?.(made.signature) ?? made.signature;
    return { plain: Buffer.from(bus.GetKeysResponse.encode({ ...made, signature }).finish()) };
  }

  function reply(sealed: bus.Sealed, curve: CurveKey): bus.Reply {
    const { binding } = open(curve, sealed.senderKey, sealed);
    const right = bind({ service: 'secret-syncer', method: 'secret', node: 'node-x' }, 'answer', binding.requestId, binding, Date.now());
    const about = hostility.binding?.(right) ?? right;
    const made = seal(hostility.sealedBy ?? curve, sealed.senderKey, about, Buffer.from(hostility.message ?? '"an answer"'));
    return hostility.reply?.(made) ?? { sealed: made };
  }

  function ask(): Promise<string> {
    return fetcher.request(method, question('q'), never, { timeoutMs: 1_000 });
  }

  const other = new CurveKey(createCurve().getSeed());
  const statements: readonly { readonly name: string; readonly hostility: Hostility; readonly text: RegExp }[] = [
    { name: 'signed by another key', hostility: { signing: createAccount() }, text: /nobody we know/ },
    {
      name: 'with a broken signature',
      hostility: { signature: (made) => Buffer.from(made.map((byte) => byte ^ 1)) },
      text: /signature is wrong/,
    },
    { name: 'without a signature', hostility: { signature: () => Buffer.alloc(0) }, text: /signature is wrong/ },
    { name: 'of another time', hostility: { nonce: () => randomBytes(16) }, text: /somebody else/ },
    { name: 'to another node', hostility: { statedFor: 'node-y' }, text: /somebody else/ },
    { name: 'of another clock', hostility: { nowMs: Date.now() - 3_600_000 }, text: /clocks/ },
  ];
  for (const { name, hostility: how, text } of statements) {
    it(`takes no keys from a statement ${name}`, async () => {
      hostility = how;
      await assert.rejects(ask(), { code: 'INVALID', message: text });
    });
  }

  it('takes a right answer', async () => {
    hostility = {};
    assert.equal(await ask(), 'an answer');
  });

  const answers: readonly { readonly name: string; readonly hostility: Hostility; readonly text: RegExp }[] = [
    { name: 'of another request', hostility: { binding: (binding) => ({ ...binding, requestId: randomBytes(16) }) }, text: /REPLAYED/ },
    { name: 'about another host', hostility: { binding: (binding) => ({ ...binding, host: 'x.example' }) }, text: /WRONG_SUBJECT/ },
    { name: 'about another image', hostility: { binding: (binding) => ({ ...binding, reference: 'x/y:1' }) }, text: /WRONG_SUBJECT/ },
    { name: 'about other namespaces', hostility: { binding: (binding) => ({ ...binding, namespaces: [] }) }, text: /WRONG_SUBJECT/ },
    { name: 'for another node', hostility: { binding: (binding) => ({ ...binding, nodeId: 'node-y' }) }, text: /WRONG_NODE/ },
    {
      name: 'that is a request',
      hostility: { binding: (binding) => ({ ...binding, purpose: 'secret-syncer/secret/request' }) },
      text: /WRONG_PURPOSE/,
    },
    { name: 'that has expired', hostility: { binding: (binding) => ({ ...binding, issuedAtMs: 1n, expiresAtMs: 2n }) }, text: /EXPIRED/ },
    { name: 'of another key', hostility: { sealedBy: other }, text: /UNKNOWN_KEY/ },
    { name: 'in plain', hostility: { reply: () => ({ plain: Buffer.from('"canary"') }) }, text: /NOT_SEALED/ },
    { name: 'that is cut', hostility: { reply: (made) => ({ sealed: { ...made, box: made.box.subarray(1) } }) }, text: /UNREADABLE/ },
    { name: 'that cannot be read', hostility: { message: Buffer.from('canary {') }, text: /cannot be read/ },
    { name: 'that says nothing', hostility: { reply: () => ({}) }, text: /NOT_SEALED/ },
  ];
  for (const { name, hostility: how, text } of answers) {
    it(`takes no answer ${name}`, async () => {
      hostility = how;
      await assert.rejects(ask(), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'INVALID');
        assert.match(error.message, text);
        assert.doesNotMatch(error.message, /canary/);
        return true;
      });
    });
  }

  it('takes no answer that is too large, and no refusal for more than a word', async () => {
    hostility = { message: Buffer.alloc(600 << 10, 0x20) };
    await assert.rejects(ask(), { code: 'TOO_LARGE' });
    hostility = { reply: () => ({ refusal: { code: 'canary\u001b[31m' } }) };
    await assert.rejects(ask(), { code: 'REFUSED', reason: 'UNKNOWN' });
    assert.doesNotMatch(lines.join('\n'), /canary/);
  });
});
