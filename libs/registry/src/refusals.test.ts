import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { basic, fingerprint, type Answer, type Credential, type CredentialSource, type SourceChange } from '@soci/keychain';
import type { RegistryClient } from './registry-client.ts';
import { makeCertificates, withoutOpenssl } from './testing/certificates.ts';
import { client, referenceTo, signal, sourceOf } from './testing/clients.ts';
import { GIVEN, startGuarded } from './testing/guarded-registry.ts';
import { clockOf, hostsIn, mirror } from './testing/hosts.ts';
import { startWeb } from './testing/web.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
const BASIC = { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } } as const;

function ask(subject: Pick<RegistryClient, 'hasBlob'>, host: string): Promise<boolean> {
  return subject.hasBlob(referenceTo(host), DIGEST, signal);
}

function header(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function candidates(...credentials: readonly Credential[]): Answer {
  return { kind: 'candidates', source: 'test', candidates: credentials.map((credential, at) => ({ credential, entry: `entry ${at}` })) };
}

/** Keeps its answer, as a plugin does, until it is told that it was refused. */
class KeepingSource implements CredentialSource {
  readonly name = 'test';
  readonly told: string[] = [];
  lookups = 0;
  #kept: readonly Credential[] | undefined;
  readonly #make: () => readonly Credential[];

  constructor(make: () => readonly Credential[]) {
    this.#make = make;
  }

  resolve(): Promise<Answer> {
    this.lookups++;
    this.#kept ??= this.#make();
    return Promise.resolve(candidates(...this.#kept));
  }

  refused(print: string): boolean {
    this.told.push(print);
    if (this.#kept?.some((credential) => fingerprint(credential) === print) !== true) return false;
    this.#kept = undefined;
    return true;
  }
}

describe('a source that keeps what it gave', () => {
  it('is told that it was refused, and asked once more in the same request', async (t) => {
    let password = 'old';
    const { registry, tokens } = await startGuarded(t, {
      token: ({ headers }) => (headers.authorization === header('alice', 'new') ? { status: 200, body: '{"token":"t"}' } : { status: 401 }),
    });
    const source = new KeepingSource(() => [basic('alice', password)]);
    await source.resolve();
    password = 'new';
    assert.ok(await ask(client(t, { credentials: source }).client, registry.host));
    assert.deepEqual(source.told, [fingerprint(basic('alice', 'old'))]);
    assert.equal(source.lookups, 3);
    assert.equal(tokens.seen.length, 2);
  });

  it('is told when a password that worked does no more, and when a token made from it is refused', async (t) => {
    let password = 'one';
    const web = await startWeb(t, ({ headers }) => (headers.authorization === header('alice', password) ? GIVEN : BASIC));
    const source = new KeepingSource(() => [basic('alice', password)]);
    const { client: subject } = client(t, { credentials: source });
    assert.ok(await ask(subject, web.host));
    password = 'two';
    assert.ok(await ask(subject, web.host));
    assert.deepEqual(
      web.seen.map(({ headers }) => headers.authorization),
      [undefined, header('alice', 'one'), header('alice', 'one'), header('alice', 'two')],
    );
  });

  it('is not asked without end', async (t) => {
    let number = 0;
    const { registry, tokens } = await startGuarded(t, { token: () => ({ status: 401 }) });
    const source = new KeepingSource(() => [basic('alice', `pw-${number++}`), basic('bob', `pw-${number++}`)]);
    await assert.rejects(ask(client(t, { credentials: source }).client, registry.host), { code: 'UNAUTHORIZED' });
    assert.equal(source.lookups, 2);
    assert.equal(tokens.seen.length, 4);
  });

  it('and many of them: never more than five different logins for one request, over both look-ups', async (t) => {
    let number = 0;
    const { registry, tokens } = await startGuarded(t, { token: () => ({ status: 401 }) });
    const source = new KeepingSource(() => Array.from({ length: 4 }, () => basic(`user-${number++}`, 'pw')));
    await assert.rejects(ask(client(t, { credentials: source }).client, registry.host), { code: 'UNAUTHORIZED' });
    assert.equal(new Set(tokens.seen.map(({ headers }) => headers.authorization)).size, 5);
  });
});

describe('twenty wrong logins', () => {
  it('are tried five at a time, over several requests, until the right one is found', async (t) => {
    const { registry, tokens } = await startGuarded(t, {
      token: ({ headers }) =>
        headers.authorization === header('user-12', 'pw') ? { status: 200, body: '{"token":"t"}' } : { status: 401 },
    });
    const { clock } = clockOf();
    const { client: subject } = client(t, {
      clock,
      credentials: sourceOf(...Array.from({ length: 20 }, (_, i) => basic(`user-${i}`, 'pw'))),
    });
    let requests = 0;
    for (let isThere = false; !isThere && requests < 10; requests++) {
      const before = tokens.seen.length;
      isThere = await ask(subject, registry.host).catch(() => false);
      const logins = new Set(tokens.seen.slice(before).map(({ headers }) => headers.authorization));
      assert.ok(logins.size <= 5, `${logins.size} logins`);
    }
    assert.ok(requests < 10);
    assert.ok(await ask(subject, registry.host), 'and stayed with');
  });

  it('are five for a request over all hosts that it is tried at, and over the renewal of a token before it', async (t) => {
    const webs = await Promise.all([1, 2, 3].map(() => startWeb(t, () => BASIC)));
    const [first, second, origin] = webs.map(({ host }) => host) as [string, string, string];
    const { hosts } = await hostsIn(t, {}, { mirrors: { [origin]: { mirrors: [mirror(first), mirror(second)] } } });
    const credentials: CredentialSource = {
      name: 'test',
      resolve: ({ host }) => Promise.resolve(candidates(...Array.from({ length: 5 }, (_, i) => basic(`user-${i}`, host)))),
    };
    await assert.rejects(ask(client(t, { credentials, hosts }).client, origin), { code: 'UNAUTHORIZED' });
    const shown = webs.flatMap(({ seen }) => seen.map(({ headers }) => headers.authorization)).filter((line) => line !== undefined);
    assert.equal(new Set(shown).size, 5);

    let isOpen = true;
    let number = 0;
    const { clock, pass } = clockOf();
    const { registry, tokens } = await startGuarded(t, {
      token: () => (isOpen ? { status: 200, body: '{"token":"t"}' } : { status: 401 }),
    });
    const changing: CredentialSource = {
      name: 'test',
      resolve: () => Promise.resolve(candidates(...Array.from({ length: 5 }, () => basic(`user-${number++}`, 'pw')))),
    };
    const { client: subject } = client(t, { credentials: changing, clock });
    assert.ok(await ask(subject, registry.host));
    isOpen = false;
    const before = tokens.seen.length;
    pass(61_000);
    await assert.rejects(ask(subject, registry.host));
    assert.ok(new Set(tokens.seen.slice(before).map(({ headers }) => headers.authorization)).size <= 5);
  });

  it('one after the other make the wait longer, not those that were shown side by side', async (t) => {
    const { promise: open, resolve } = Promise.withResolvers<undefined>();
    const { registry } = await startGuarded(t, { token: () => open.then(() => ({ status: 401 })) });
    const { clock } = clockOf();
    const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')), clock });
    const asked = Array.from({ length: 8 }, () => ask(subject, registry.host));
    setTimeout(() => resolve(undefined), 100);
    await Promise.allSettled(asked);
    await assert.rejects(ask(subject, registry.host), /token server .* answered 401/);
    await assert.rejects(ask(subject, registry.host), /not shown again for 5 s/);
  });

  it('are held back whatever changes for other registries', async (t) => {
    let tell: ((change: SourceChange) => void) | undefined;
    const credentials: CredentialSource = {
      ...sourceOf(basic('alice', 'pw')),
      onChange: (listener) => {
        tell = listener;
        return { [Symbol.dispose]: () => undefined };
      },
    };
    const web = await startWeb(t, () => BASIC);
    const { clock } = clockOf();
    const { client: subject } = client(t, { credentials, clock });
    for (let i = 0; i < 2; i++) await assert.rejects(ask(subject, web.host));
    tell?.({ source: 'test', hosts: ['elsewhere.example'], withdrawn: [] });
    await assert.rejects(ask(subject, web.host), /refused before/);
    tell?.({ source: 'test', hosts: [web.host], withdrawn: [] });
    await assert.rejects(ask(subject, web.host), /answered 401; docker-config \(test\)$/);
  });

  it('are not followed by an anonymous try when the source has nothing any more', async (t) => {
    const { registry, tokens } = await startGuarded(t, {
      token: ({ headers }) => (headers.authorization === undefined ? { status: 200, body: '{"token":"t"}' } : { status: 401 }),
    });
    let lookups = 0;
    const credentials: CredentialSource = {
      name: 'test',
      resolve: () => Promise.resolve(lookups++ === 0 ? candidates(basic('alice', 'old')) : { kind: 'none', reason: 'the plugin failed' }),
      refused: () => true,
    };
    await assert.rejects(ask(client(t, { credentials }).client, registry.host), /not tried without a credential/);
    assert.equal(tokens.seen.length, 1);
  });

  it('are not shown once their source has taken them back, which may have overwritten them', async (t) => {
    const [first, second] = [basic('alice', 'one'), basic('bob', 'two')] as const;
    let tell: ((change: SourceChange) => void) | undefined;
    let given = [first, second];
    const web = await startWeb(t, ({ headers: { authorization } }) => {
      if (authorization !== undefined) {
        given = [first];
        tell?.({ source: 'test', withdrawn: [fingerprint(second)] });
        if (second.kind === 'basic') second.password.wipe();
      }
      return BASIC;
    });
    const credentials: CredentialSource = {
      name: 'test',
      resolve: () => Promise.resolve(candidates(...given)),
      onChange: (listener) => {
        tell = listener;
        return { [Symbol.dispose]: () => undefined };
      },
    };
    await assert.rejects(ask(client(t, { credentials }).client, web.host), { code: 'UNAUTHORIZED' });
    assert.deepEqual(
      web.seen.map(({ headers }) => headers.authorization),
      [undefined, header('alice', 'one')],
    );
  });

  it('count together with the login the request went with', async (t) => {
    let isOpen = true;
    const web = await startWeb(t, ({ headers: { authorization } }) => {
      if (authorization === undefined) return BASIC;
      return isOpen ? GIVEN : { status: 403 };
    });
    let users = [basic('first', 'pw')];
    const credentials: CredentialSource = { name: 'test', resolve: () => Promise.resolve(candidates(...users)) };
    const { client: subject } = client(t, { credentials });
    assert.ok(await ask(subject, web.host));
    isOpen = false;
    users = Array.from({ length: 9 }, (_, i) => basic(`user-${i}`, 'pw'));
    const before = web.seen.length;
    await assert.rejects(ask(subject, web.host), { code: 'DENIED' });
    assert.equal(new Set(web.seen.slice(before).map(({ headers }) => headers.authorization)).size, 5);
  });

  it('are not followed by an anonymous try, public as the image may be', async (t) => {
    const { registry, tokens } = await startGuarded(t, {
      token: ({ headers }) => (headers.authorization === undefined ? { status: 200, body: '{"token":"t"}' } : { status: 401 }),
    });
    const wrong = sourceOf(...Array.from({ length: 3 }, (_, i) => basic(`user-${i}`, 'pw')));
    const { client: subject } = client(t, { credentials: wrong });
    for (let i = 0; i < 3; i++) await assert.rejects(ask(subject, registry.host), { code: 'UNAUTHORIZED' });
    assert.ok(tokens.seen.every(({ headers }) => headers.authorization !== undefined));
    assert.ok(registry.seen.every(({ headers }) => headers.authorization === undefined));
    assert.ok(await ask(client(t).client, registry.host), 'while it is there for whoever has none');
  });
});

describe('a source that is not ready', () => {
  it('is an error and never anonymous; the next request asks it again', async (t) => {
    const { registry, tokens } = await startGuarded(t);
    let answer: Answer = { kind: 'not-ready', reason: 'not synced yet' };
    const credentials: CredentialSource = { name: 'k8s', resolve: () => Promise.resolve(answer) };
    const { client: subject } = client(t, { credentials });
    for (let i = 0; i < 2; i++)
      await assert.rejects(ask(subject, registry.host), { code: 'CREDENTIALS_NOT_READY', message: /not synced yet/ });
    assert.equal(tokens.seen.length, 0);
    answer = candidates(basic('alice', 'pw'));
    assert.ok(await ask(subject, registry.host));
    answer = { kind: 'not-ready', reason: 'away' };
    await assert.rejects(subject.hasBlob(referenceTo(registry.host, 'other/app'), DIGEST, signal), { code: 'CREDENTIALS_NOT_READY' });
  });
});

describe('namespaces', () => {
  it('go into every look-up, and what one of them earned is not used for another', async (t) => {
    const { registry } = await startGuarded(t);
    const source = sourceOf(basic('alice', 'pw'));
    const { client: subject } = client(t, { credentials: source });
    const fetchAs = (...namespaces: string[]): Promise<unknown> =>
      subject.forNamespaces(namespaces).fetchManifest(referenceTo(registry.host), '1.0', signal);
    await fetchAs('b', 'a');
    await fetchAs('a', 'b');
    await fetchAs('c');
    await fetchAs();
    await fetchAs('');
    assert.deepEqual(
      source.lookups.map(({ namespaces }) => namespaces),
      [['a', 'b'], ['c'], [], ['']],
    );
  });
});

describe('what a hostile registry may send', () => {
  it('a realm of http behind https gets no request', { skip: withoutOpenssl }, async (t) => {
    const { ca, server } = makeCertificates();
    const tokens = await startWeb(t, () => ({ status: 200, body: '{"token":"t"}' }));
    const web = await startWeb(
      t,
      () => ({ status: 401, headers: { 'www-authenticate': `Bearer realm="${tokens.origin}/token"` } }),
      server,
    );
    const { client: subject } = client(t, { plainHttp: () => false, extraCa: [ca], credentials: sourceOf(basic('alice', 'pw')) });
    await assert.rejects(ask(subject, web.host), { code: 'REALM_REFUSED', message: /speaks https, its realm does not/ });
    assert.equal(tokens.seen.length, 0);
  });

  it('a token for thirty thousand years is kept for a day, and no timer is set for it', async (t) => {
    const { registry, tokens } = await startGuarded(t, {
      token: (_, number) => ({ status: 200, body: JSON.stringify({ token: `token-${number}`, expires_in: 1e12 }) }),
    });
    const warnings: Error[] = [];
    const listen = (warning: Error): void => void warnings.push(warning);
    process.on('warning', listen);
    t.after(() => process.off('warning', listen));
    const { clock, pass } = clockOf();
    const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')), clock });
    assert.ok(await ask(subject, registry.host));
    pass(19 * 3_600_000);
    assert.ok(await ask(subject, registry.host));
    assert.equal(tokens.seen.length, 1);
    pass(6 * 3_600_000);
    assert.ok(await ask(subject, registry.host));
    assert.equal(registry.seen.at(-1)?.headers.authorization, 'Bearer token-2');
    assert.deepEqual(warnings, []);
  });

  it('a challenge of a megabyte of quotes ends soon, in an error', async (t) => {
    for (const length of [4_000, 9_000, 1024 * 1024]) {
      const registry = await startWeb(t, () => ({ status: 401, headers: { 'www-authenticate': `Bearer realm=${'"'.repeat(length)}` } }));
      const startedMs = performance.now();
      await assert.rejects(ask(client(t, { http: { maxRetries: -1 } }).client, registry.host), {
        code: /CHALLENGE_UNSUPPORTED|UNREACHABLE/,
      });
      assert.ok(performance.now() - startedMs < 1_000);
    }
  });
});
