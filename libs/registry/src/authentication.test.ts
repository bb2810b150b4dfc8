import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { describeError } from '@soci/errors';
import { ImageReference } from '@soci/image';
import { basic, identityToken, registryToken, type Answer } from '@soci/keychain';
import { SYSTEM_CLOCK } from './clock.ts';
import { RegistryError } from './errors.ts';
import type { RegistryClient } from './registry-client.ts';
import { client, referenceTo, signal, sourceOf } from './testing/clients.ts';
import { GIVEN, startGuarded } from './testing/guarded-registry.ts';
import { startWeb, type Web } from './testing/web.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;

/** Any request that needs the right to pull. */
async function ask(subject: RegistryClient, host: string, repository?: string): Promise<boolean> {
  return subject.hasBlob(referenceTo(host, repository), DIGEST, signal);
}

function shown(web: Web): (string | undefined)[] {
  return web.seen.map(({ headers }) => headers.authorization);
}

function basicHeader(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
}

async function failure(promise: Promise<unknown>): Promise<RegistryError> {
  const error = await promise.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  assert.ok(error instanceof RegistryError);
  return error;
}

/** A clock that stands still until told otherwise. */
function clockOf() {
  let now = 1_000_000;
  return { clock: { ...SYSTEM_CLOCK, nowMs: () => now, wallMs: () => now }, pass: (ms: number) => (now += ms) };
}

describe('bearer tokens', () => {
  it('are fetched after a challenge, with no source asked before it, and kept', async (t) => {
    const { registry, tokens } = await startGuarded(t);
    const credentials = sourceOf(basic('alice', 's3cret-1'));
    const { client: subject } = client(t, { credentials, userAgent: 'soci-test' });
    assert.ok(await ask(subject, registry.host));
    assert.ok(await ask(subject, registry.host));
    assert.deepEqual(shown(registry), [undefined, 'Bearer token-1', 'Bearer token-1']);
    assert.deepEqual(shown(tokens), [basicHeader('alice', 's3cret-1')]);
    assert.equal(credentials.lookups.length, 1);
    assert.equal(credentials.lookups[0]?.host, registry.host);
    const url = new URL(tokens.seen[0]!.path, tokens.origin);
    assert.deepEqual(
      [...url.searchParams].filter(([name]) => name !== 'client_id'),
      [
        ['service', 'test'],
        ['scope', 'repository:team/app:pull'],
      ],
    );
    assert.equal(tokens.seen[0]?.headers['user-agent'], 'soci-test');
  });

  it('are fetched once by many requests at a time', async (t) => {
    const { registry, tokens } = await startGuarded(t);
    const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')) });
    await Promise.all(Array.from({ length: 30 }, () => ask(subject, registry.host)));
    assert.equal(tokens.seen.length, 1);
  });

  it('are of each repository', async (t) => {
    const { registry, tokens } = await startGuarded(t, { challenge: (realm) => `Bearer realm="${realm}"` });
    const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')) });
    for (const repository of ['a/one', 'a/two', 'a/one']) await ask(subject, registry.host, repository);
    assert.deepEqual(
      tokens.seen.map(({ path }) => new URL(path, tokens.origin).searchParams.getAll('scope')),
      [['repository:a/one:pull'], ['repository:a/two:pull']],
    );
  });

  it('are renewed near their end without a request having to wait, and in the last seconds with one', async (t) => {
    const { registry, tokens } = await startGuarded(t);
    const { clock, pass } = clockOf();
    const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')), clock });
    await ask(subject, registry.host);
    pass(241_000);
    await ask(subject, registry.host);
    assert.equal(shown(registry).at(-1), 'Bearer token-1');
    while (tokens.seen.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await ask(subject, registry.host);
    assert.equal(shown(registry).at(-1), 'Bearer token-2');
    pass(298_000);
    await ask(subject, registry.host);
    assert.equal(shown(registry).at(-1), 'Bearer token-3');
  });

  it('go on being used when they cannot be renewed early', async (t) => {
    const { registry } = await startGuarded(t, {
      token: (_, number) => (number === 1 ? { status: 200, body: '{"token":"token-1","expires_in":300}' } : { status: 503 }),
    });
    const { clock, pass } = clockOf();
    const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')), clock, http: { maxRetries: -1 } });
    await ask(subject, registry.host);
    pass(297_000);
    assert.ok(await ask(subject, registry.host));
  });

  it('that are refused are fetched anew with a fresh look-up, once', async (t) => {
    let valid = 'token-1';
    const { registry, tokens } = await startGuarded(t, { isWelcome: (authorization) => authorization === `Bearer ${valid}` });
    const credentials = sourceOf(basic('alice', 'pw'));
    const { client: subject } = client(t, { credentials });
    await ask(subject, registry.host);
    valid = 'token-2';
    await ask(subject, registry.host);
    assert.deepEqual(shown(registry), [undefined, 'Bearer token-1', 'Bearer token-1', 'Bearer token-2']);
    assert.equal(credentials.lookups.length, 2);
    valid = 'none';
    assert.equal((await failure(ask(subject, registry.host))).code, 'UNAUTHORIZED');
    assert.equal(tokens.seen.length, 3);
  });

  it('may be had for an identity token by POST, and by GET where the server knows no POST', async (t) => {
    for (const refused of [false, true]) {
      const { registry, tokens } = await startGuarded(t, {
        token: ({ method }) => (refused && method === 'POST' ? { status: 404 } : { status: 200, body: '{"access_token":"t"}' }),
      });
      const { client: subject } = client(t, { credentials: sourceOf(identityToken('rt+1')) });
      assert.ok(await ask(subject, registry.host));
      const form = new URLSearchParams(tokens.seen[0]?.body.toString());
      assert.equal(form.get('grant_type'), 'refresh_token');
      assert.equal(form.get('refresh_token'), 'rt+1');
      assert.equal(form.get('scope'), 'repository:team/app:pull');
      assert.deepEqual(shown(tokens), refused ? [undefined, basicHeader('<token>', 'rt+1')] : [undefined]);
    }
  });

  it('that are ready-made are sent as they are', async (t) => {
    const { registry, tokens } = await startGuarded(t);
    const { client: subject } = client(t, { credentials: sourceOf(registryToken('rg-1')) });
    assert.ok(await ask(subject, registry.host));
    assert.equal(shown(registry).at(-1), 'Bearer rg-1');
    assert.equal(tokens.seen.length, 0);
  });

  it('are asked for anonymously where no source has a credential', async (t) => {
    const { registry, tokens } = await startGuarded(t);
    assert.ok(await ask(client(t).client, registry.host));
    assert.deepEqual(shown(tokens), [undefined]);
  });
});

describe('a refused credential', () => {
  it('fails the request with source, host and repository, and no secret', async (t) => {
    for (const [token, refusal] of [
      [{ status: 401, body: '{"errors":[{"code":"UNAUTHORIZED","message":"s3cret-1 is wrong"}]}' }, 401],
      [{ status: 403 }, 401],
      [undefined, 401],
      [undefined, 403],
    ] as const) {
      const { registry } = await startGuarded(t, {
        ...(token === undefined ? {} : { token: () => token }),
        isWelcome: () => false,
        refusal,
      });
      const { client: subject, lines } = client(t, { credentials: sourceOf(basic('alice', 's3cret-1')) });
      const error = await failure(ask(subject, registry.host));
      assert.equal(error.code, refusal === 403 ? 'DENIED' : 'UNAUTHORIZED');
      assert.ok(error.message.startsWith(`HEAD blob team/app@${DIGEST} at ${registry.host}: answered `), error.message);
      assert.match(error.message, /docker-config \(test\)/);
      assert.doesNotMatch([describeError(error), ...lines].join(), /s3cret|token-1|czNjcmV0/);
    }
  });

  it('that there is none of is said, too', async (t) => {
    const { registry } = await startGuarded(t, { isWelcome: () => false });
    assert.match((await failure(ask(client(t).client, registry.host))).message, /answered 401; no credential \(asked: docker-config\)$/);
    const web = await startWeb(t, () => ({ status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } }));
    assert.match(
      (await failure(ask(client(t).client, web.host))).message,
      /no credential \(asked: docker-config\): the registry wants a user name and password/,
    );
  });

  it('gives way to the next of the same answer, five at most', async (t) => {
    for (const refusal of [401, 403]) {
      const { registry, tokens } = await startGuarded(t, { isWelcome: (authorization) => authorization === 'Bearer token-3', refusal });
      const candidates = ['a', 'b', 'b', 'c', 'd'].map((user) => basic(user, 'pw'));
      const { client: subject } = client(t, { credentials: sourceOf(...candidates) });
      assert.ok(await ask(subject, registry.host));
      assert.deepEqual(
        shown(tokens),
        ['a', 'b', 'c'].map((user) => basicHeader(user, 'pw')),
      );
    }
    const { registry, tokens } = await startGuarded(t, { token: () => ({ status: 401 }) });
    const { client: subject } = client(t, { credentials: sourceOf(...Array.from({ length: 9 }, (_, i) => basic(`user-${i}`, 'pw'))) });
    await failure(ask(subject, registry.host));
    assert.equal(tokens.seen.length, 5);
  });

  it('is not shown again for a while from its second refusal on; another one is', async (t) => {
    const { registry, tokens } = await startGuarded(t, {
      token: ({ headers }) =>
        headers.authorization === basicHeader('alice', 'new') ? { status: 200, body: '{"token":"t"}' } : { status: 401 },
    });
    const { clock, pass } = clockOf();
    let password = 'old';
    const credentials = {
      name: 'docker-config',
      resolve: (): Promise<Answer> =>
        Promise.resolve({
          kind: 'candidates',
          source: 'docker-config',
          candidates: [{ credential: basic('alice', password), entry: 'test' }],
        }),
    };
    const { client: subject } = client(t, { credentials, clock });
    for (let i = 0; i < 4; i++) await failure(ask(subject, registry.host));
    assert.equal(tokens.seen.length, 2);
    assert.match((await failure(ask(subject, registry.host))).message, /refused before, not shown again for 5 s/);
    pass(5_000);
    await failure(ask(subject, registry.host));
    await failure(ask(subject, registry.host));
    assert.equal(tokens.seen.length, 3);
    password = 'new';
    assert.ok(await ask(subject, registry.host));
  });

  it('of a source that fails or is not ready is not taken for anonymous', async (t) => {
    const { registry, tokens } = await startGuarded(t);
    const broken = {
      name: 'docker-config',
      resolve: () => Promise.reject(new Error('helper docker-credential-x: executable file not found')),
    };
    const error = await failure(ask(client(t, { credentials: broken }).client, registry.host));
    assert.equal(error.code, 'CREDENTIALS_FAILED');
    assert.match(describeError(error), /credential for 127\.0\.0\.1:[0-9]+: helper docker-credential-x: executable file not found/);
    const waiting = {
      name: 'k8s',
      resolve: (): Promise<Answer> => Promise.resolve({ kind: 'not-ready', reason: 'secrets are not there yet' }),
    };
    assert.equal((await failure(ask(client(t, { credentials: waiting }).client, registry.host))).code, 'CREDENTIALS_NOT_READY');
    assert.equal(tokens.seen.length, 0);
  });

  it('is not replaced by Basic when a registry answers an insufficient bearer so', async (t) => {
    const { tokens } = await startGuarded(t);
    const registry = await startWeb(t, ({ headers }, number) => {
      if (headers.authorization === undefined)
        return { status: 401, headers: { 'www-authenticate': `Bearer realm="${tokens.origin}/token"` } };
      return number === 2 || headers.authorization === 'Bearer token-2'
        ? GIVEN
        : { status: 401, headers: { 'www-authenticate': 'Basic realm="harbor"' } };
    });
    const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')) });
    assert.ok(await ask(subject, registry.host));
    assert.ok(await ask(subject, registry.host));
    assert.deepEqual(shown(registry), [undefined, 'Bearer token-1', 'Bearer token-1', 'Bearer token-2']);
  });
});

describe('where a credential must not go', () => {
  it('a realm at a link-local or other internal address gets no request', async (t) => {
    for (const realm of [
      'http://169.254.169.254/token',
      'http://10.0.0.1/',
      'http://[fe80::1]/',
      'http://0x7f000001.1/',
      'http://u:p@127.0.0.1:1/',
    ]) {
      const registry = await startWeb(t, () => ({ status: 401, headers: { 'www-authenticate': `Bearer realm="${realm}"` } }));
      const error = await failure(ask(client(t, { credentials: sourceOf(basic('alice', 's3cret-1')) }).client, registry.host));
      assert.equal(error.code, /0x7f/.test(realm) ? 'CHALLENGE_UNSUPPORTED' : 'REALM_REFUSED', error.message);
      assert.match(error.message, /realm/);
    }
  });

  it('a redirect of the token server to another origin goes without it, and under the rules of realms', async (t) => {
    const second = await startWeb(t, () => ({ status: 200, body: '{"token":"t"}' }));
    for (const [location, code] of [
      [`${second.origin}/token`, undefined],
      ['http://169.254.169.254/', 'REALM_REFUSED'],
      ['/again', 'REALM_REFUSED'],
    ] as const) {
      const { registry } = await startGuarded(t, { token: () => ({ status: 307, headers: { location } }) });
      const asked = ask(client(t, { credentials: sourceOf(basic('alice', 'pw')) }).client, registry.host);
      if (code === undefined) assert.ok(await asked);
      else assert.equal((await failure(asked)).code, code);
    }
    assert.deepEqual(shown(second), [undefined]);
    const { registry } = await startGuarded(t, { token: () => ({ status: 307, headers: { location: `${second.origin}/token` } }) });
    assert.equal(
      (await failure(ask(client(t, { credentials: sourceOf(identityToken('rt')) }).client, registry.host))).code,
      'REALM_REFUSED',
    );
    assert.equal(second.seen.length, 1);
  });

  it('a storage gets none, and none when it asks for one', async (t) => {
    for (const challenge of [undefined, 'Basic realm="x"', 'Bearer realm="http://127.0.0.1:1/"']) {
      const storage = await startWeb(t, () =>
        challenge === undefined ? GIVEN : { status: 401, headers: { 'www-authenticate': challenge } },
      );
      const registry = await startWeb(t, ({ headers }) =>
        headers.authorization === undefined
          ? { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } }
          : { status: 307, headers: { location: `${storage.origin}/x?sig=signed` } },
      );
      const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')) });
      const read = subject.fetchManifest(referenceTo(registry.host), '1.0', signal);
      if (challenge === undefined) await read;
      else {
        const error = await failure(read);
        assert.equal(error.code, 'UNAUTHORIZED');
        assert.doesNotMatch(error.message, /sig/);
      }
      assert.deepEqual(shown(storage), [undefined]);
    }
  });

  it('a registry that moved for good is one of its own: looked up by its own name', async (t) => {
    const next = await startWeb(t, ({ headers }) =>
      headers.authorization === basicHeader('next', 'pw') ? GIVEN : { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
    );
    const first = await startWeb(t, ({ path }) => ({ status: 301, headers: { location: next.origin + path } }));
    const credentials = {
      name: 'docker-config',
      resolve: ({ host }: { host: string }): Promise<Answer> =>
        Promise.resolve({
          kind: 'candidates',
          source: 'x',
          candidates: [{ credential: basic(host === next.host ? 'next' : 'first', 'pw'), entry: 'test' }],
        }),
    };
    await client(t, { credentials }).client.fetchManifest(referenceTo(first.host), '1.0', signal);
    assert.deepEqual(shown(first), [undefined]);
    assert.deepEqual(shown(next), [undefined, undefined, basicHeader('next', 'pw')]);
  });

  it('a token server with an endless answer is cut off', async (t) => {
    const { registry, tokens } = await startGuarded(t, { token: () => ({ status: 200, body: Buffer.alloc(100 * 1024 * 1024, 0x20) }) });
    const { client: subject } = client(t, { credentials: sourceOf(basic('alice', 'pw')) });
    assert.equal((await failure(ask(subject, registry.host))).code, 'PROTOCOL');
    assert.ok((subject.stats.get(tokens.host)?.bytes ?? Infinity) < 4 * 1024 * 1024);
  });
});

describe('credentials of Docker Hub', () => {
  it('are looked up for the host that its requests go to', async (t: TestContext) => {
    const credentials = sourceOf();
    const { client: subject } = client(t, {
      credentials,
      plainHttp: () => true,
      proxy: {
        httpProxy: `http://${(await startWeb(t, () => ({ status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } }))).host}`,
      },
    });
    await failure(subject.hasBlob(new ImageReference({ host: 'docker.io', repository: 'library/alpine' }), DIGEST, signal));
    assert.deepEqual(
      credentials.lookups.map(({ host }) => host),
      ['registry-1.docker.io'],
    );
  });
});
