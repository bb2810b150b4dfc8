import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { describeError } from '@soci/errors';
import { waitFor } from '@soci/testing';
import { commandsOf, fencedBlocks, fileOf, type FencedBlock } from '../checks/markdown.ts';
import { DocumentedNode, IMAGE } from './documented-node.ts';
import { LOGIN, ROOT } from './stack.ts';

const DOCUMENT = join(ROOT, 'docs', 'registry-authentication.md');
const CONFIG_FILE = '/etc/soci-snapshotter-grpc/config.toml';
const PLUGIN = '/usr/local/bin/credential-providers/example-credential-provider';
const SYNC_MS = 20_000;

interface Report {
  readonly sources: readonly { readonly name: string; readonly outcome: string; readonly entries: readonly { readonly entry: string }[] }[];
}

/** What must hold after a section of the document was followed. */
const outcomes: ReadonlyMap<string, readonly [source: string, outcome: string, entry: string]> = new Map([
  ['Which credential is used', ['docker-config', 'none', '']],
  ['Docker config', ['docker-config', 'matched', 'registry.example.com']],
  ['CRI credentials', ['cri', 'none', '']],
  ['Kubernetes secrets', ['kubernetes-secrets', 'matched', 'team-a/pull']],
  ['Credential-provider plugins', ['credential-plugins', 'matched', 'example-credential-provider']],
]);

const blocks = fencedBlocks(await readFile(DOCUMENT, 'utf8'));
const sections = [
  ...new Set(blocks.filter((block) => block.language === 'sh' || fileOf(block) !== undefined).map(({ section }) => section)),
];

describe('docs/registry-authentication.md, followed from its beginning to its end', () => {
  let node: DocumentedNode;

  before(async () => {
    node = await DocumentedNode.start();
    await node.write(PLUGIN, pluginScript());
    await node.shell(`chmod 755 "$(dirname ${PLUGIN})" ${PLUGIN}`);
  });
  after(() => node[Symbol.asyncDispose]());

  for (const section of sections) {
    it(section, { timeout: 300_000 }, async (t) => {
      const follower = new Follower(node, (text) => t.diagnostic(text));
      for (const block of blocks.filter((one) => one.section === section)) await follower.follow(block);
      await follower.settle();
      const outcome = outcomes.get(section);
      if (outcome !== undefined && follower.left === 0) await showsOutcome(node, ...outcome);
      if (section === 'Docker config') assert.equal(plain(await node.shell(`soci credentials ${IMAGE}`)), plain(shownOutput()));
    });
  }

  it('has no password in the log', async () => {
    const log = await node.serviceLog();
    for (const form of [LOGIN.password, Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString('base64')])
      assert.ok(!log.includes(form));
  });
});

/** Does what a reader does: writes the files that are shown, starts the service again when its configuration is another, runs the commands. */
class Follower {
  /** Commands that could not be run here. */
  left = 0;
  readonly #node: DocumentedNode;
  readonly #tell: (text: string) => void;
  #isConfigured = true;

  constructor(node: DocumentedNode, tell: (text: string) => void) {
    this.#node = node;
    this.#tell = tell;
  }

  async follow(block: FencedBlock): Promise<void> {
    const path = fileOf(block);
    if (path !== undefined) {
      await this.#write(path, block.text);
    } else if (block.language === 'sh') {
      await this.settle();
      await this.#run(block);
    }
  }

  /** Files that belong together are written before the service reads them. */
  async settle(): Promise<void> {
    if (!this.#isConfigured) await this.#node.restart();
    this.#isConfigured = true;
  }

  async #write(path: string, text: string): Promise<void> {
    const { kube } = this.#node;
    const real = kube === undefined ? text : text.replace('https://kubernetes.example.com:6443', kube.url);
    await this.#node.write(path, real);
    if (path === CONFIG_FILE) this.#isConfigured = false;
  }

  /** The commands of a block share a shell, as at a prompt. */
  async #run(block: FencedBlock): Promise<void> {
    const commands: string[] = [];
    for (const command of commandsOf(block)) {
      const reason = await this.#whyNot(command);
      if (reason === undefined) commands.push(command.includes('auth can-i') ? `until ${command}; do sleep 0.2; done` : command);
      else this.#leave(command, reason);
    }
    try {
      await this.#node.shell(commands.join('\n'));
    } catch (cause) {
      throw new Error(`line ${block.line}: ${describeError(cause)}\n${(await this.#node.serviceLog()).slice(-3_000)}`, { cause });
    }
  }

  #leave(command: string, reason: string): void {
    this.left++;
    this.#tell(`not run, ${reason}: ${command}`);
  }

  async #whyNot(command: string): Promise<string | undefined> {
    const [program = ''] = command.split(' ');
    if (program === 'kubectl' && this.#node.kube === undefined) return 'there is no API server';
    return (await this.#node.has(program)) ? undefined : `${program} is not installed`;
  }
}

/** What the document shows as the output of `soci credentials`. */
function shownOutput(): string {
  return blocks.find(({ language, text }) => language === 'text' && text.startsWith('Image:'))?.text ?? '';
}

/** Without the padding of columns, and as if for root at home. */
function plain(output: string): string {
  return output
    .replaceAll(/ +/g, ' ')
    .replaceAll(/ $/gm, '')
    .replaceAll(/\S+(?=\/\.docker\/)/g, '/root');
}

async function showsOutcome(node: DocumentedNode, name: string, outcome: string, entry: string): Promise<void> {
  let last = '';
  await waitFor(
    async () => {
      last = await node.shell(`soci credentials --json ${IMAGE} || true`);
      const source = (JSON.parse(last) as Report).sources.find((one) => one.name === name);
      return source?.outcome === outcome && (entry === '' || source.entries.some((one) => one.entry.includes(entry)));
    },
    { timeoutMs: SYNC_MS, what: `${name} to be ${outcome}`, intervalMs: 200 },
  ).catch((cause: unknown) => {
    throw new Error(`${describeError(cause)}\n${last}`, { cause });
  });
}

/** Answers with the right login whatever it is asked. */
function pluginScript(): string {
  const answer = {
    kind: 'CredentialProviderResponse',
    apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
    cacheKeyType: 'Registry',
    auth: { 'registry.example.com': { username: LOGIN.username, password: LOGIN.password } },
  };
  return `#!/bin/sh\ncat > /dev/null\nprintf '%s\\n' '${JSON.stringify(answer)}'\n`;
}
