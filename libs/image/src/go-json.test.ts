import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { goJson, type GoJsonValue } from './go-json.ts';
import { decodeGoUtf8 } from './go-text.ts';

const cases: { value: GoJsonValue; want: string }[] = [
  { value: '<a href="x">&</a>', want: String.raw`"\u003ca href=\"x\"\u003e\u0026\u003c/a\u003e"` },
  { value: '\u2028\u2029', want: String.raw`"\u2028\u2029"` },
  { value: '\b\f\n\r\t\u0000\u001f\u007f', want: '"\\b\\f\\n\\r\\t\\u0000\\u001f\u007f"' },
  { value: '\\/é\u{1f600}', want: '"\\\\/é\u{1f600}"' },
  { value: '\ud800x', want: '"\ufffdx"' },
  { value: 9_223_372_036_854_775_807n, want: '9223372036854775807' },
  { value: [1, true, null, {}], want: '[1,true,null,{}]' },
  { value: { b: 1, a: undefined, c: [] }, want: '{"b":1,"c":[]}' },
  {
    value: new Map([
      ['b', '2'],
      ['a', '1'],
      ['\u{10000}', 'x'],
      ['\uffff', 'y'],
      ['10', ''],
      ['9', ''],
    ]),
    want: '{"10":"","9":"","a":"1","b":"2","\uffff":"y","\u{10000}":"x"}',
  },
  {
    value: new Map([
      ['__proto__', 'p'],
      ['constructor', 'c'],
    ]),
    want: '{"__proto__":"p","constructor":"c"}',
  },
];

describe('goJson', () => {
  for (const { value, want } of cases) {
    it(`writes ${want.slice(0, 40)}`, () => assert.equal(goJson(value), want));
  }

  it('refuses numbers that are not exact', () => {
    for (const value of [0.5, Number.NaN, 2 ** 53]) assert.throws(() => goJson(value), RangeError);
  });

  it('refuses endless nesting', () => {
    let value: GoJsonValue = [];
    for (let i = 0; i < 200; i++) value = [value];
    assert.throws(() => goJson(value), RangeError);
  });
});

describe('decodeGoUtf8', () => {
  const texts = [
    { bytes: [0x61, 0xe2, 0x82, 0x22], want: 'a\ufffd\ufffd"' },
    { bytes: [0xff, 0xc3, 0xa9], want: '\ufffdé' },
    { bytes: [0xed, 0xa0, 0x80], want: '\ufffd\ufffd\ufffd' },
    { bytes: [0xf0, 0x9f, 0x98, 0x80, 0xf0, 0x9f], want: '\u{1f600}\ufffd\ufffd' },
  ];
  for (const { bytes, want } of texts) {
    it(`makes ${JSON.stringify(want)} of ${Buffer.from(bytes).toString('hex')}`, () =>
      assert.equal(decodeGoUtf8(Uint8Array.from(bytes)), want));
  }
});
