import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compileGoRegexp, GoRegexpError } from './go-regexp.ts';

const cases: readonly (readonly [source: string, matching: readonly string[], others: readonly string[]])[] = [
  ['', ['', 'x'], []],
  ['b+', ['abbb', 'b'], ['', 'ac']],
  ['^a.c$', ['abc', 'aéc'], ['xabc', 'a\nc', 'abcd']],
  ['(?s)^a.c$', ['a\nc'], []],
  ['(?i)straße', ['STRAßE'], ['strasse']],
  ['(?i)[^k]$', ['a'], ['k', 'K', '\u212a']],
  ['a(?i)b|c', ['aB', 'C'], ['Ab']],
  ['(a(?i)b)c', ['aBc'], ['aBC']],
  ['^(?:sha256|sha512):[0-9a-f]{4,6}$', ['sha256:0af1', 'sha512:0af1ff'], ['sha256:0af', 'sha256:0af1ff0', 'md5:0af1']],
  ['x{2}', ['xx'], ['x']],
  ['^x{2,}y??$', ['xx', 'xxxxy'], ['x']],
  ['x{,2}', ['x{,2}'], ['xx']],
  ['[]a]', [']', 'a'], ['b']],
  ['[^]a]', ['b', '\n'], [']', 'a']],
  ['[a-]', ['-', 'a'], ['b']],
  ['[\\d\\-x]', ['7', '-', 'x'], ['y']],
  ['[[:upper:][:^alpha:]]', ['A', '1'], ['a']],
  ['^\\w+\\s\\S$', ['ab_1 x'], ['é x', 'ab']],
  ['\\bfoo\\b', ['a foo b', 'foo'], ['foot', 'éfoot']],
  ['o\\B', ['oo'], ['o ']],
  ['\\pL\\p{Greek}', ['aλ', 'λλ'], ['1λ', 'aa']],
  ['^\\P{^Lu}$', ['A'], ['a']],
  ['\\Qa.b*\\E+', ['a.b**'], ['axb']],
  ['\\x41\\x{1F600}\\101\\07', ['A😀A\x07'], ['A']],
  ['(?m)^b$', ['a\nb\nc'], ['abc']],
  ['\\Ab\\z', ['b'], ['a\nb']],
  ['(?P<first>a)(?<second>b)', ['ab'], ['a']],
  ['a||b', ['', 'c'], []],
  ['^(a*)*$', ['', 'aaaa'], ['aab']],
  ['^.$', ['😀'], ['ab']],
];

const refused = [
  '(',
  ')',
  'a**',
  '*a',
  'a|*',
  'a{2}{3}',
  '[a',
  '[z-a]',
  '[[:nope:]]',
  '\\',
  '\\1',
  '\\8',
  '\\C',
  '\\q',
  '\\p{Nope}',
  'a{1001}',
  'a{3,2}',
  '(?=a)',
  '(?!a)',
  '(?<=a)b',
  '(?x)a',
  '((a{100}){100}){100}',
  'a'.repeat(1025),
];

describe('compileGoRegexp', () => {
  for (const [source, matching, others] of cases) {
    it(`matches as RE2 does: ${JSON.stringify(source)}`, () => {
      const expression = compileGoRegexp(source);
      for (const text of matching) assert.equal(expression.test(text), true, JSON.stringify(text));
      for (const text of others) assert.equal(expression.test(text), false, JSON.stringify(text));
    });
  }

  for (const source of refused) {
    it(`refuses ${JSON.stringify(source.slice(0, 40))}`, () => {
      assert.throws(() => compileGoRegexp(source), GoRegexpError);
    });
  }

  it('takes no longer for an expression made to backtrack', () => {
    const expression = compileGoRegexp('^(a|a)*(a+)+(a|aa)+$');
    assert.equal(expression.test(`${'a'.repeat(4096)}b`), false);
  });
});
