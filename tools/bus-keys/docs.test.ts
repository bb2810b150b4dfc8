import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { permissionsOf, type Identity } from '@soci/bus/deployment';

const text = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'bus.md'), 'utf8');
const SECTION = text.slice(text.indexOf('### Subjects and permissions'), text.indexOf('### What is sealed'));

/** The cells of a service's row, each as the subjects in it. */
function rowOf(service: string): readonly (readonly string[])[] {
  const row = SECTION.split('\n').find((line) => line.startsWith(`| ${service} |`)) ?? '';
  return row
    .split('|')
    .slice(2, 5)
    .map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, subject = '']) => subject));
}

describe('the table of permissions in docs/bus.md', () => {
  const identities: readonly Identity[] = [
    { service: 'registry-fetcher', node: 'NODE' },
    { service: 'cri-proxy', node: 'NODE' },
    { service: 'secret-syncer', node: undefined },
  ];
  for (const identity of identities) {
    it(`says of ${identity.service} what the server is told`, () => {
      const { publish, subscribe } = permissionsOf(identity);
      assert.deepEqual(rowOf(identity.service).slice(0, 2), [publish, subscribe]);
    });
  }
});
