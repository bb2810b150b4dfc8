import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, parseConfig, toToml } from '@soci/config';
import { ImageError, MAX_MANIFEST_BYTES, parseConfigPlatform, parseIndex, parseManifest, parseReference } from '@soci/image';
import { IndexError, parsePrefetch, parseSociIndex } from '@soci/index';
import { DockerConfigSource, KeychainError } from '@soci/keychain';
import { collectLogs } from '@soci/log';
import { chooseChallenge, parseChallenges, RegistryError } from '@soci/registry';
import { SnapshotError, Snapshotter, type SnapshotInfo } from '@soci/snapshots';
import type { Random } from '../random.ts';
import { readGolden } from './golden.ts';
import { mutate } from './mutate.ts';
import type { FuzzTarget } from './target.ts';

const MEBIBYTE = 1 << 20;
const signal = new AbortController().signal;
const JSON_TOKENS = ['{', '}', '[', ']', ',', ':', '""', '"__proto__"', '"constructor"', 'null', 'true', '-1', '1e999', '9007199254740993'];

/** Manifests and indexes of images, SOCI indexes, prefetch lists: whatever JSON a registry sends. */
export async function openDocuments(): Promise<FuzzTarget> {
  const golden = await readGolden();
  const inputs = [...golden.documents, ...golden.prefetch];
  const tokens = [
    ...JSON_TOKENS,
    '"layers":',
    '"manifests":',
    '"digest":',
    '"size":',
    '"annotations":{',
    '"mediaType":""',
    '"subject":{',
    '\ud800',
  ];
  const readers = [parseManifest, parseIndex, parseSociIndex, parseConfigPlatform, parsePrefetch];
  return {
    known: [
      ...inputs,
      Buffer.from('['.repeat(MAX_MANIFEST_BYTES)),
      Buffer.from(`{"layers":[${'{},'.repeat(MEBIBYTE)}{}]}`),
      Buffer.from(`{"annotations":{${Array.from({ length: 200_000 }, (_, i) => `"${i}":""`).join()}}}`),
      Buffer.from(`{"annotations":{"${'x'.repeat(MAX_MANIFEST_BYTES - 30)}":1}}`),
    ],
    make: mutator(inputs, tokens),
    run: (input) => {
      const failures = readers.flatMap((read) => failureOf(() => read(input), [IndexError, ImageError]));
      const [first] = failures;
      if (first !== undefined && failures.length === readers.length) throw first;
    },
    errors: [IndexError, ImageError],
  };
}

/** `config.json` and `DOCKER_AUTH_CONFIG`. Helpers that an input names are not there, and none is started. */
export function openDockerConfigs(): Promise<FuzzTarget> {
  const texts = [
    '{"auths":{"registry.example.com":{"auth":"dXNlcjpwYXNzd29yZA=="},"https://index.docker.io/v1/":{"username":"u","password":"p"}}}',
    '{"auths":{"registry.example.com/a/b":{"identitytoken":"t"},"registry.example.com":{"registrytoken":"r"}},"HttpHeaders":{"a":"b"}}',
    '{"credHelpers":{"registry.example.com":"not-there"},"credsStore":"neither","auths":{"registry.example.com":{}}}',
    '{"AUTHS":null,"auths":{"registry.example.com":{"Auth":"dTpw","email":"e"}}} trailing',
  ];
  const tokens = [
    ...JSON_TOKENS,
    '"auths":{',
    '"auth":"dTpw"',
    '"credsStore":',
    '"credHelpers":{',
    '"registry.example.com":',
    '\\u0000',
    '==',
  ];
  const directory = mkdtempSync(join(tmpdir(), 'soci-fuzz-'));
  const path = join(directory, 'config.json');
  const lookup = { host: 'registry.example.com', reference: parseReference('registry.example.com/a/b:1'), namespaces: [] };
  return Promise.resolve({
    known: [
      ...texts.map((text) => Buffer.from(text)),
      Buffer.from('{"auths":'.repeat(100_000)),
      Buffer.from(`{${'"auths":{"registry.example.com":{"auth":"dTpw"}},'.repeat(20_000)}"x":1}`),
      Buffer.from(`{"auths":{"registry.example.com":{"auth":"${'A'.repeat(MEBIBYTE - 100)}"}}}`),
      Buffer.from(`{"x":"${'\\'.repeat(MEBIBYTE - 100)}`),
    ],
    make: mutator(
      texts.map((text) => Buffer.from(text)),
      tokens,
    ),
    run: async (input, random) => {
      writeFileSync(path, input, { mode: 0o600 });
      const environment = random.chance(0.3) ? { DOCKER_AUTH_CONFIG: Buffer.from(input).toString('latin1').replaceAll('\0', '') } : {};
      const { log } = collectLogs();
      const source = new DockerConfigSource({ path, log, env: { PATH: directory, ...environment } });
      const answer = await source.resolve(lookup, signal);
      assert.ok(answer.kind === 'none' || (answer.kind === 'candidates' && answer.candidates.length > 0));
    },
    errors: [KeychainError],
    close: async () => {
      await rm(directory, { recursive: true });
    },
  });
}

/** `WWW-Authenticate` headers. */
export function openChallenges(): Promise<FuzzTarget> {
  const inputs = [
    'Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:a/b:pull,push"',
    'Basic realm="registry \\"quoted\\"", Bearer realm=https://a.example/t , error=invalid_token',
    'Negotiate YWJjZA==, Digest realm="x", qop="auth, auth-int", nonce=abc',
    `Bearer ${'a=b,'.repeat(2000)}`,
    `Basic realm="${'\\'.repeat(8000)}`,
    ' ,'.repeat(4000),
  ].map((text) => Buffer.from(text));
  const make = mutator(inputs, ['Bearer ', 'Basic ', 'realm=', '"', '\\', ',', '=', ' ', '\t', 'https://', 'scope=""', '\u0130']);
  return Promise.resolve({
    known: inputs,
    make: (random) => make(random).subarray(0, 9000),
    run: (input, random) => {
      const text = Buffer.from(input).toString(random.chance(0.5) ? 'latin1' : 'utf8');
      chooseChallenge(parseChallenges(random.chance(0.5) ? [text] : text.split('\n')));
    },
    errors: [RegistryError],
  });
}

/** containerd's filters, as any client of the socket may send them. */
export function openFilters(): Promise<FuzzTarget> {
  const inputs = [
    'kind==active',
    'labels."containerd.io/snapshot.ref"~="^sha256:[0-9a-f]{64}$",name!=x',
    'parent==""',
    'labels.a~=/(a|b)*c+?\\d\\pL[[:alpha:]^-]{2,3}/',
    'name~=|(?i:x)\\bfoo\\B$|',
    'labels."\\u00e9\\x41\\101"',
    `name~="${'(a*)*'.repeat(100)}b"`,
    `name~="${'(?:a?){1000}'.repeat(20)}"`,
    `name~="${'('.repeat(500)}a${')'.repeat(500)}"`,
    `name~="((a{100}){100}){100}"`,
    `name=="${'\\'.repeat(16_000)}`,
  ].map((text) => Buffer.from(text));
  const make = mutator(inputs, [
    'labels.',
    '==',
    '!=',
    '~=',
    '"',
    '/',
    '|',
    '\\',
    '(?s)',
    '(',
    ')*',
    '{0,1000}',
    '[^',
    ']',
    '\\pN',
    ',',
    '\u212a',
  ]);
  const list = snapshotList();
  return Promise.resolve({
    known: inputs,
    make,
    run: (input) => list(Buffer.from(input).toString().split('\0')),
    errors: [SnapshotError],
  });
}

/** `config.toml`. */
export function openConfigs(): Promise<FuzzTarget> {
  const inputs = [
    toToml(parseConfig('', 'default').file),
    '[blob]\nread_timeout_sec = 3\n[background_fetch]\ndisable = true\n',
    'METRICS_ADDRESS = "x"\n[http.auth]\nx = 1979-05-27T07:32:00Z\n[[resolver.host."a.b".mirrors]]\nhost = \'m\'\ninsecure = true\n',
    '[a'.repeat(1000),
    `a = ${'['.repeat(500_000)}`,
    `a = ${'{a='.repeat(300_000)}`,
    Array.from({ length: 80_000 }, (_, i) => `key${i} = 1`).join('\n'),
    `${'x'.repeat(MEBIBYTE - 10)} = 1`,
  ].map((text) => Buffer.from(text));
  const tokens = [
    '[',
    ']',
    '[[',
    '{',
    '}',
    '=',
    '"',
    "'",
    '"""',
    '\n',
    '.',
    ',',
    '#',
    'true',
    '-0',
    '1e400',
    'inf',
    'nan',
    '0x7fffffffffffffff',
    '__proto__',
  ];
  return Promise.resolve({
    known: inputs,
    make: mutator(inputs.slice(0, 3), tokens),
    run: (input, random) => {
      const { file } = parseConfig(Buffer.from(input).toString(), 'config.toml', { strict: random.chance(0.2) });
      assert.deepEqual(parseConfig(toToml(file), 'again').file, file);
    },
    errors: [ConfigError],
  });
}

function mutator(inputs: readonly Buffer[] | readonly Uint8Array[], tokens: readonly string[]): (random: Random) => Uint8Array {
  return (random) => mutate(random.pick<Uint8Array>(inputs), random, { others: inputs, tokens });
}

function failureOf(read: () => unknown, expected: FuzzTarget['errors']): Error[] {
  try {
    read();
    return [];
  } catch (error) {
    if (error instanceof Error && expected.some((type) => error instanceof type)) return [error];
    throw error;
  }
}

/** The list call of a snapshotter that has three snapshots and nothing else. */
function snapshotList(): (filters: readonly string[]) => readonly SnapshotInfo[] {
  const times = { createdNs: 0n, updatedNs: 0n };
  const snapshots: readonly SnapshotInfo[] = [
    { name: 'default/1/a', parent: '', kind: 'active', labels: {}, ...times },
    {
      name: `sha256:${'a'.repeat(64)}`,
      parent: 'p',
      kind: 'committed',
      labels: { a: 'abc1', 'containerd.io/snapshot.ref': 'x'.repeat(4000) },
      ...times,
    },
    { name: 'a'.repeat(200), parent: '', kind: 'view', labels: { é: 'é' }, ...times },
  ];
  type Parts = ConstructorParameters<typeof Snapshotter>[0];
  const parts = { store: { list: () => snapshots }, log: collectLogs('error').log }; // all that `list` needs
  const snapshotter = new Snapshotter(parts as unknown as Parts);
  return (filters) => snapshotter.list(filters);
}
