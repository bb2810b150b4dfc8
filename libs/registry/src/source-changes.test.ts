import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { basic, fingerprint, type Answer, type Credential, type CredentialSource, type SourceChange } from '@soci/keychain';
import { SYSTEM_CLOCK } from './clock.ts';
import type { RegistryClient } from './registry-client.ts';
import { client, referenceTo, signal } from './testing/clients.ts';
import { startGuarded } from './testing/guarded-registry.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
const OLD = basic('alice', 'old');
const NEW = basic('alice', 'new');

function header(credential: Credential): string {
  assert.ok(credential.kind === 'basic');
  return `Basic ${Buffer.from(`${credential.username}:${credential.password.reveal()}`).toString('base64')}`;
}

/** A source whose one credential a test changes, by itself or with word of it. */
class ChangingSource implements CredentialSource {
  readonly name = 'test';
  credential: Credential = OLD;
  #listener: ((change: SourceChange) => void) | undefined;

  resolve(): Promise<Answer> {
    return Promise.resolve({ kind: 'candidates', source: this.name, candidates: [{ credential: this.credential, entry: 'one' }] });
  }

  onChange(listener: (change: SourceChange) => void): Disposable {
    this.#listener = listener;
    return { [Symbol.dispose]: () => (this.#listener = undefined) };
  }

  get isListenedTo(): boolean {
    return this.#listener !== undefined;
  }

  tell(...withdrawn: readonly Credential[]): void {
    this.#listener?.({ source: this.name, withdrawn: withdrawn.map(fingerprint) });
  }
}

function ask(subject: RegistryClient, host: string): Promise<boolean> {
  return subject.hasBlob(referenceTo(host), DIGEST, signal);
}

async function started(t: TestContext) {
  const source = new ChangingSource();
  const guarded = await startGuarded(t);
  const { client: subject } = client(t, { credentials: source });
  assert.ok(await ask(subject, guarded.registry.host));
  const logins = (): readonly (string | undefined)[] => guarded.tokens.seen.map(({ headers }) => headers.authorization);
  return { source, subject, host: guarded.registry.host, logins };
}

describe('a change in a source', () => {
  it('drops the tokens made from what it withdraws, before they end', async (t) => {
    const { source, subject, host, logins } = await started(t);
    source.credential = NEW;
    source.tell(OLD);
    assert.ok(await ask(subject, host));
    assert.deepEqual(logins(), [header(OLD), header(NEW)]);
  });

  it('leaves tokens made from other credentials as they are', async (t) => {
    const { source, subject, host, logins } = await started(t);
    source.tell(NEW);
    assert.ok(await ask(subject, host));
    assert.deepEqual(logins(), [header(OLD)]);
  });

  it('counts for an exchange that is under way: its token is not kept', async (t) => {
    const source = new ChangingSource();
    const { registry, tokens } = await startGuarded(t, {
      token: (_, number) => {
        if (number === 1) {
          source.credential = NEW;
          source.tell(OLD);
        }
        return { status: 200, body: JSON.stringify({ token: `token-${number}`, expires_in: 300 }) };
      },
    });
    const { client: subject } = client(t, { credentials: source });
    for (let i = 0; i < 3; i++) assert.ok(await ask(subject, registry.host));
    assert.deepEqual(
      tokens.seen.map(({ headers }) => headers.authorization),
      [header(OLD), header(NEW)],
    );
  });

  it('lets a credential be shown again that was held back after refusals', async (t) => {
    const source = new ChangingSource();
    let isOpen = false;
    const { registry } = await startGuarded(t, {
      token: () => (isOpen ? { status: 200, body: '{"token":"t"}' } : { status: 401 }),
    });
    const clock = { ...SYSTEM_CLOCK, nowMs: () => 1_000_000 }; // it stands still, so the wait would never end
    const { client: subject } = client(t, { credentials: source, clock });
    for (let i = 0; i < 3; i++) await assert.rejects(ask(subject, registry.host));
    isOpen = true;
    await assert.rejects(ask(subject, registry.host), /refused before/);
    source.tell();
    assert.ok(await ask(subject, registry.host));
  });

  it('is not listened to once the client is closed', async (t) => {
    const { source, subject } = await started(t);
    assert.ok(source.isListenedTo);
    await subject[Symbol.asyncDispose]();
    assert.ok(!source.isListenedTo);
  });
});
