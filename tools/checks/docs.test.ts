import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { parseConfig } from '@soci/config';
import { anchorsOf, commandsOf, fencedBlocks, fileOf, linksOf } from './markdown.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const CONFIG_FILE = '/etc/soci-snapshotter-grpc/config.toml';

const docs = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
const documents = new Map(
  ['README.md', 'CONTRIBUTING.md', ...docs.map((name) => join('docs', name))].map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]),
);

describe('the documents', () => {
  for (const [path, text] of documents) {
    it(`${path} has no link that leads nowhere`, () => {
      const broken = linksOf(text).filter(({ target }) => !leadsSomewhere(path, target));
      assert.deepEqual(broken, []);
    });

    for (const block of fencedBlocks(text)) {
      if (fileOf(block) !== CONFIG_FILE) continue;
      it(`${path}:${block.line} shows a config.toml whose keys are known and have an effect`, () => {
        assert.deepEqual(parseConfig(block.text, CONFIG_FILE, { strict: true }).warnings, []);
      });
    }
  }

  it('tell of every key of config.toml', () => {
    const text = documents.get('docs/configuration.md') ?? '';
    const missing = keysOf(parseConfig('', CONFIG_FILE).file).filter((key) => !isTold(key, text));
    assert.deepEqual(missing, []);
  });
});

describe('the reading of documents', () => {
  const text =
    '# A b\n\n## C: `d.e`\n\n1. x\n\n   ```sh\n   one \\\n     two\n\n   # no command\n   three\n   ```\n\n```\n# not a [link](x)\n```\n[a\nb](c#d) [e](f)\n';

  it('finds blocks, also within lists, and their sections', () => {
    assert.deepEqual(
      fencedBlocks(text).map(({ language, section, line }) => [language, section, line]),
      [
        ['sh', 'C: `d.e`', 7],
        ['', 'C: `d.e`', 15],
      ],
    );
    const [block] = fencedBlocks(text);
    assert.deepEqual(block === undefined ? [] : commandsOf(block), ['one    two', 'three']);
  });

  it('finds links and anchors', () => {
    assert.deepEqual([...anchorsOf(text)], ['a-b', 'c-de']);
    assert.deepEqual([...new Set(linksOf(text).map(({ target }) => target))], ['c#d', 'f']);
  });

  it('knows the file that a block stands for', () => {
    const block = { language: 'toml', line: 1, section: '' };
    assert.equal(fileOf({ ...block, text: '# /etc/x.toml\na = 1\n' }), '/etc/x.toml');
    assert.equal(fileOf({ ...block, text: '# about it\na = 1\n' }), undefined);
  });
});

function leadsSomewhere(from: string, target: string): boolean {
  if (/^https?:/.test(target)) return true;
  const [path = '', anchor] = target.split('#');
  const file = path === '' ? from : relative(ROOT, resolve(ROOT, dirname(from), path));
  const document = documents.get(file);
  if (document === undefined)
    return anchor === undefined && readdirSync(join(ROOT, dirname(file))).includes(file.slice(file.lastIndexOf('/') + 1));
  return anchor === undefined || anchorsOf(document).has(anchor);
}

/** `resolver.config_path` */
function keysOf(table: object, prefix = ''): readonly string[] {
  return Object.entries(table).flatMap(([name, value]: [string, unknown]) =>
    typeof value === 'object' && value !== null && !Array.isArray(value) ? keysOf(value, `${prefix}${name}.`) : [`${prefix}${name}`],
  );
}

/** The key stands there as it is, or without the names of its tables. */
function isTold(key: string, text: string): boolean {
  const parts = key.split('.');
  return parts.some((_, from) => text.includes(`\`${parts.slice(from).join('.')}\``));
}
