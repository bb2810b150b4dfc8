import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Secret } from '@soci/keychain';
import { ApiLogin } from './api-login.ts';
import { NOBODY, type ApiUser } from './api-target.ts';

const { signal } = new AbortController();
const API_VERSION = 'client.authentication.k8s.io/v1';
const CANARY = 'c4nary-t0ken';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'soci-login-'));
});
after(async () => {
  await rm(folder, { recursive: true });
});

function login(user: Partial<ApiUser>, options: { readonly nowMs?: () => number; readonly programTimeoutMs?: number } = {}): ApiLogin {
  const server = { url: 'https://k.example', authority: undefined, isInsecure: false, serverName: undefined, proxyUrl: undefined };
  const env = { PATH: process.env['PATH'], NODE_OPTIONS: '--inspect', MARK: 'inherited' };
  return new ApiLogin({ target: { origin: 'test', server, user: { ...NOBODY, ...user } }, env, ...options });
}

/** A login program that counts its runs in `<name>.runs`. */
async function program(name: string, body: string): Promise<{ readonly user: Partial<ApiUser>; readonly runs: () => Promise<number> }> {
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\necho run >> ${path}.runs\n${body}\n`);
  await chmod(path, 0o700);
  const runs = async (): Promise<number> => (await readFile(`${path}.runs`, 'utf8')).split('\n').length - 1;
  return { user: { program: { command: path, args: ['one'], env: { OWN: 'set' }, apiVersion: API_VERSION, wantsServer: true } }, runs };
}

function answer(status: object): string {
  return `cat <<'X'\n${JSON.stringify({ apiVersion: API_VERSION, kind: 'ExecCredential', status })}\nX`;
}

describe('login to an API server', () => {
  it('shows a token, and that of a file before it', async () => {
    const tokenFile = join(folder, 'token');
    await writeFile(tokenFile, 'first\n');
    const byFile = login({ token: Secret.of('fixed'), tokenFile });
    assert.equal((await byFile.present(signal)).authorization?.reveal(), 'Bearer first');
    await writeFile(tokenFile, 'second');
    assert.equal((await byFile.present(signal)).authorization?.reveal(), 'Bearer second');
    await writeFile(tokenFile, '\n');
    await assert.rejects(byFile.present(signal), { code: 'LOGIN_FAILED' });
    assert.equal((await login({ token: Secret.of('fixed') }).present(signal)).authorization?.reveal(), 'Bearer fixed');
  });

  it('shows a password, or nothing', async () => {
    const { authorization } = await login({ password: { username: 'u', password: Secret.of('p') } }).present(signal);
    assert.equal(authorization?.reveal(), `Basic ${Buffer.from('u:p').toString('base64')}`);
    assert.equal((await login({}).present(signal)).authorization, undefined);
  });

  it('runs a program, with what the protocol tells it and without what is ours', async () => {
    const check =
      'test "$1 $OWN $MARK $NODE_OPTIONS" = "one set inherited " && echo "$KUBERNETES_EXEC_INFO" | grep -q \'"server":"https://k.example"\' || exit 3\n';
    const { user } = await program('told', check + answer({ token: CANARY, clientCertificateData: 'cert', clientKeyData: 'key' }));
    const { authorization, certificate, key } = await login(user).present(signal);
    assert.equal(authorization?.reveal(), `Bearer ${CANARY}`);
    assert.deepEqual([certificate?.toString(), key?.toString()], ['cert', 'key']);
  });

  it('asks a program again when its login ends or was refused, and once for many', async () => {
    const { user, runs } = await program('expiring', answer({ token: 't', expirationTimestamp: '2030-01-01T00:00:00Z' }));
    let now = Date.parse('2029-12-31T00:00:00Z');
    const subject = login(user, { nowMs: () => now });
    await Promise.all([subject.present(signal), subject.present(signal)]);
    await subject.present(signal);
    assert.equal(await runs(), 1);
    now = Date.parse('2029-12-31T23:59:55Z');
    await subject.present(signal);
    assert.equal(await runs(), 2);
    now = Date.parse('2029-12-31T00:00:00Z');
    subject.forget();
    await subject.present(signal);
    assert.equal(await runs(), 3);
  });

  const failures = [
    { name: 'exits with an error', body: `echo ${CANARY}; echo "login: no ticket" >&2; exit 4`, why: /exit status 4: login: no ticket/ },
    { name: 'prints no JSON', body: `echo ${CANARY}`, why: /not an ExecCredential/ },
    { name: 'prints another version', body: answer({ token: CANARY }).replace('/v1', '/v1alpha1'), why: /not an ExecCredential/ },
    { name: 'gives nothing', body: answer({}), why: /not an ExecCredential/ },
    { name: 'gives a certificate without its key', body: answer({ clientCertificateData: CANARY }), why: /not an ExecCredential/ },
    { name: 'prints too much', body: `yes ${CANARY}`, why: /bytes of output/ },
    { name: 'never ends', body: 'sleep 60', why: /no answer within 500 ms/ },
  ];
  for (const { name, body, why } of failures) {
    it(`fails where a program ${name}, without a word of its output`, async () => {
      const { user } = await program(name.replaceAll(' ', '-'), body);
      await assert.rejects(login(user, { programTimeoutMs: 500 }).present(signal), (error: Error) => {
        return 'code' in error && error.code === 'LOGIN_FAILED' && why.test(error.message) && !error.message.includes(CANARY);
      });
    });
  }

  it('fails where there is no such program', async () => {
    const missing = { command: 'no-such-login-program', args: [], env: {}, apiVersion: API_VERSION, wantsServer: false };
    await assert.rejects(login({ program: missing }).present(signal), { code: 'LOGIN_FAILED', message: /not found in \$PATH/ });
  });

  it('says nothing of what an OpenID issuer answered', async () => {
    const refused = login({ openId: () => Promise.reject(new Error(CANARY)) });
    await assert.rejects(refused.present(signal), (error: Error) => !JSON.stringify([error.message, error.cause]).includes(CANARY));
    const given = await login({ openId: () => Promise.resolve('Bearer x') }).present(signal);
    assert.equal(given.authorization?.reveal(), 'Bearer x');
  });
});
