import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hasCode } from '@soci/errors';
import { toLabels } from '../labels.ts';
import type { SnapshotInfo } from '../snapshot.ts';
import { parseFilters } from './filter.ts';
import { snapshotFields } from './snapshot-fields.ts';

const CHAIN = 'sha256:2f2a9a1e';
const snapshot: SnapshotInfo = {
  name: 'default/3/layer',
  parent: 'default/2/base',
  kind: 'committed',
  labels: toLabels([
    ['containerd.io/snapshot.ref', CHAIN],
    ['plain', '1'],
    ['with space', 'a "quoted" value'],
    ['dotted.key', 'x'],
  ]),
  createdNs: 1n,
  updatedNs: 1n,
};
const orphan: SnapshotInfo = { ...snapshot, parent: '', labels: toLabels([]) };

const cases: readonly { filters: readonly string[]; want: boolean; of?: SnapshotInfo }[] = [
  { filters: [], want: true },
  { filters: [''], want: true },
  { filters: ['kind==committed'], want: true },
  { filters: ['kind==active'], want: false },
  { filters: ['kind==active', 'name==default/3/layer'], want: true },
  { filters: [`labels."containerd.io/snapshot.ref"==${CHAIN},parent==default/2/base`], want: true },
  { filters: [`labels."containerd.io/snapshot.ref"==${CHAIN},parent=="default/2/base"`], want: true },
  { filters: [`labels."containerd.io/snapshot.ref"==${CHAIN},parent==""`], want: false },
  { filters: ['parent==""'], want: true, of: orphan },
  { filters: ['parent!=""'], want: true },
  { filters: ['parent'], want: true, of: orphan },
  { filters: ['labels.plain'], want: true },
  { filters: ['labels.plain'], want: false, of: orphan },
  { filters: ['labels.none'], want: false },
  { filters: ['labels.none!=x'], want: true },
  { filters: ['labels.none==""'], want: false },
  { filters: ['labels.constructor'], want: false },
  { filters: ['labels'], want: false },
  { filters: ['nothing'], want: false },
  { filters: ['labels.dotted.key==x'], want: true },
  { filters: ['labels."dotted.key"==x'], want: true },
  { filters: ['labels."with space"=="a \\"quoted\\" value"'], want: true },
  { filters: ['labels."with\\x20space"~=/quoted/'], want: true },
  { filters: ['labels.plain=="\\u0031"'], want: true },
  { filters: ['name~=^default/[0-9]+/'], want: true },
  { filters: ['name~=|^default/\\\\d+/layer$|'], want: true },
  { filters: ['name~="^default/[0-9]+/layer$"'], want: true },
  { filters: ['labels.none~=/^$/'], want: true },
  { filters: ['name == default/3/layer'], want: true },
  { filters: [' name==default/3/layer, kind==committed'], want: true },
  { filters: ['name==`default/3/layer`'], want: false },
  { filters: ['labels.plain==1,kind==committed,name!=x'], want: true },
];

const mistakes = [
  'name=',
  'name==',
  '=name',
  'name=x',
  'name===x',
  'name==x,',
  ',name==x',
  'name==x y',
  'name==.x',
  '.name',
  'labels.',
  'labels."open',
  'labels."bad\\q"',
  'labels."\\x4"',
  'labels./slash/',
  'name==/slash/',
  "name=='x'y z",
  'name~=|\\d|',
  'name~=/(/',
  'name\0',
  'name==x\ufffd',
  'name=="\\400"',
  'name=="\\U00110000"',
];

describe('parseFilters', () => {
  for (const { filters, want, of = snapshot } of cases) {
    it(`${JSON.stringify(filters)} is ${String(want)}${of === orphan ? ' of a snapshot without labels and parent' : ''}`, () => {
      assert.equal(parseFilters(filters)(snapshotFields(of)), want);
    });
  }

  for (const filter of mistakes) {
    it(`refuses ${JSON.stringify(filter)}`, () => {
      assert.throws(
        () => parseFilters([filter]),
        (error) => hasCode(error, 'INVALID_ARGUMENT'),
      );
    });
  }

  it('shows the place of a mistake', () => {
    assert.throws(() => parseFilters(['name==x y']), /filter \[name==x >\| \|< y\]: unexpected input/);
  });

  it('refuses what is too long or too many', () => {
    assert.throws(() => parseFilters([`name==${'x'.repeat(20_000)}`]), /at most/);
    assert.throws(() => parseFilters(Array.from({ length: 1001 }, () => 'name')), /at most/);
  });
});
