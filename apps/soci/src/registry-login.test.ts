import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, it, type TestContext } from 'node:test';
import { parseReference } from '@soci/image';
import type { Credential } from '@soci/keychain';
import { toGlobals, type RegistryOptions } from './options.ts';
import { registryLogin } from './registry-login.ts';
import { Session } from './session.ts';

const PASSWORD = 'correct-horse';
const reference = parseReference('registry.example.com/team/app:1');

interface Input {
  readonly stdin?: AsyncIterable<Uint8Array>;
  readonly environment?: Readonly<Record<string, string>>;
}

/** What the image's registry is shown, or undefined. */
async function loginOf(
  options: RegistryOptions,
  { stdin = Readable.from([]), environment = {} }: Input = {},
  host = reference.host,
): Promise<unknown> {
  const output = { write: () => undefined };
  const signal = new AbortController().signal;
  const surroundings = {
    environment: { HOME: '/nonexistent', ...environment },
    stdin,
    stdout: output,
    stderr: output,
    signal,
    now: Date.now,
  };
  await using session = new Session(toGlobals({ timeout: 0 }), surroundings);
  const source = await registryLogin(reference.host, options, session);
  const answer = await source.resolve({ host, reference, namespaces: [] }, signal);
  return answer.kind === 'candidates' ? plain(answer.candidates[0]?.credential) : undefined;
}

function plain(credential: Credential | undefined): unknown {
  if (credential?.kind === 'basic') return [credential.username, Buffer.from(credential.password.revealBytes()).toString('latin1')];
  return credential?.kind === 'identity_token' ? { token: credential.token.reveal() } : credential?.kind;
}

const bytes = (...texts: readonly string[]): Input => ({ stdin: Readable.from(texts.map((text) => Buffer.from(text, 'latin1'))) });

async function dockerConfig(t: TestContext, content: unknown): Promise<Input> {
  const folder = await mkdtemp(join(tmpdir(), 'soci-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'config.json'), JSON.stringify(content), { mode: 0o600 });
  return { environment: { DOCKER_CONFIG: folder } };
}

describe('the login of a command line', () => {
  const bob = { auths: { 'registry.example.com': { auth: Buffer.from('bob:hunter-2').toString('base64') } } };

  it('is --user, cut at the first colon, and then nothing else', async (t) => {
    const config = await dockerConfig(t, bob);
    assert.deepEqual(await loginOf({ user: `alice:${PASSWORD}` }, config), ['alice', PASSWORD]);
    assert.deepEqual(await loginOf({ user: 'AWS:ey:J:x' }, config), ['AWS', 'ey:J:x']);
    assert.deepEqual(await loginOf({ user: 'alice' }, config), ['alice', '']);
    assert.deepEqual(await loginOf({ user: '' }, config), 'anonymous');
  });

  it('is the Docker config without flags', async (t) => {
    assert.deepEqual(await loginOf({}, await dockerConfig(t, bob)), ['bob', 'hunter-2']);
    assert.equal(await loginOf({}), undefined);
  });

  it('goes to the registry of the image alone', async (t) => {
    const config = await dockerConfig(t, bob);
    assert.equal(await loginOf({ user: `alice:${PASSWORD}` }, config, 'storage.example.com'), undefined);
    assert.equal(await loginOf({ user: 'alice', passwordStdin: true }, bytes(PASSWORD), 'storage.example.com'), undefined);
  });

  it('is an identity token', async () => {
    assert.deepEqual(await loginOf({ refresh: 'rt-7' }), { token: 'rt-7' });
  });

  const passwords: readonly { readonly name: string; readonly given: readonly string[]; readonly want: string }[] = [
    { name: 'a line', given: [`${PASSWORD}\n`], want: PASSWORD },
    { name: 'a line of another system', given: [`${PASSWORD}\r\n`], want: PASSWORD },
    { name: 'no line end', given: [PASSWORD], want: PASSWORD },
    { name: 'one of two line ends', given: [`${PASSWORD}\n\n`], want: `${PASSWORD}\n` },
    { name: 'blanks and colons', given: [' a:b \n'], want: ' a:b ' },
    { name: 'several pieces', given: ['correct', '-horse', '\n'], want: PASSWORD },
    { name: 'what is no UTF-8', given: ['p\xff\n'], want: 'p\xff' },
  ];
  for (const { name, given, want } of passwords) {
    it(`is a password from standard input: ${name}`, async () => {
      assert.deepEqual(await loginOf({ user: 'alice', passwordStdin: true }, bytes(...given)), ['alice', want]);
      assert.deepEqual(await loginOf({ username: 'alice', passwordStdin: true }, bytes(...given)), ['alice', want]);
    });
  }

  const contradictions: readonly { readonly options: RegistryOptions; readonly says: string; readonly stdin?: string }[] = [
    {
      options: { user: `alice:${PASSWORD}`, passwordStdin: true },
      says: '--password-stdin: --user must be a user name without a password',
    },
    { options: { passwordStdin: true }, says: '--password-stdin needs --user or --username with a user name' },
    { options: { user: '', passwordStdin: true }, says: '--password-stdin needs --user or --username with a user name' },
    { options: { user: 'alice', username: 'alice', passwordStdin: true }, says: 'give --user or --username, not both' },
    { options: { username: 'alice' }, says: '--username needs --password-stdin' },
    { options: { user: 'alice', passwordStdin: true }, stdin: '\n', says: '--password-stdin: standard input holds no password' },
    { options: { user: 'alice', passwordStdin: true }, stdin: 'x'.repeat(65_537), says: '--password-stdin: more than 65536 bytes' },
    { options: { user: `:${PASSWORD}` }, says: '--user: the user name before the colon is empty' },
  ];
  for (const { options, says, stdin = PASSWORD } of contradictions) {
    it(`is refused: ${says}`, async () => {
      await assert.rejects(loginOf(options, bytes(stdin)), { message: says });
    });
  }
});
