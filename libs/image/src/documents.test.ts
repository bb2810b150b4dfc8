import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ABSENT, MAX_MANIFEST_BYTES, parseConfigPlatform, parseIndex, parseManifest } from './documents.ts';
import { encodeIndex, encodeManifest } from './encode.ts';
import { ImageError } from './errors.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
const CONFIG = `{"mediaType":"c","digest":"${DIGEST}","size":1}`;
const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (value: Uint8Array): string => Buffer.from(value).toString();
const again = (document: string): string => text(encodeManifest(parseManifest(bytes(document))));
const manifest = (rest = '', config = CONFIG): string => `{"schemaVersion":2,"config":${config},"layers":[]${rest}}`;

describe('parseManifest and encodeManifest', () => {
  it('write a manifest in the order of the Go structs, without unknown fields', () => {
    const input = `{ "annotations": {"b":"<b>","a":"é"}, "x-vendor": [1,2.5], "layers": [{"artifactType":"t","platform":{"variant":"v8","os":"linux","architecture":"arm64"},
      "size":3,"urls":["u"],"data":"e30=","x":1,"digest":"${DIGEST}","mediaType":"m","annotations":{}}], "config": ${CONFIG}, "mediaType": "mt", "schemaVersion": 2 }`;
    assert.equal(
      again(input),
      `{"schemaVersion":2,"mediaType":"mt","config":${CONFIG},"layers":[{"mediaType":"m","digest":"${DIGEST}","size":3,"urls":["u"],"data":"e30=",` +
        `"platform":{"architecture":"arm64","os":"linux","variant":"v8"},"artifactType":"t"}],"annotations":{"a":"é","b":"\\u003cb\\u003e"}}`,
    );
  });

  it('tell an absent list from an empty one', () => {
    const parsed = parseManifest(bytes(`{"schemaVersion":2,"config":${CONFIG}}`));
    assert.equal(parsed.layers, ABSENT);
    assert.match(text(encodeManifest(parsed)), /"layers":null/);
    assert.match(again(manifest()), /"layers":\[\]/);
    assert.match(text(encodeIndex(parseIndex(bytes('{"schemaVersion":2}')))), /"manifests":null/);
  });

  it('take null for nothing, and leave empty values out', () => {
    assert.equal(again(manifest(',"annotations":null,"subject":null,"artifactType":"","mediaType":null')), manifest());
  });

  it('keep keys that are names in JavaScript', () => {
    const document = manifest(',"annotations":{"__proto__":"p","constructor":"c","toString":"t"}');
    assert.equal(again(document), document);
    assert.equal(Object.getPrototypeOf({}), Object.prototype);
  });

  it('make whole characters of broken ones, byte by byte', () => {
    const broken = Buffer.concat([
      bytes(`{"schemaVersion":2,"config":${CONFIG},"annotations":{"a":"`),
      Buffer.from([0xe2, 0x82]),
      bytes('"}}'),
    ]);
    assert.equal(parseManifest(broken).annotations?.a, '\ufffd\ufffd');
  });

  const bad = [
    { name: 'text that is no JSON', document: '{' },
    { name: 'a list', document: '[]' },
    { name: 'null', document: 'null' },
    { name: 'no config', document: '{"schemaVersion":2,"layers":[]}' },
    { name: 'schema 1', document: manifest(',"fsLayers":[]') },
    { name: 'an index', document: manifest(',"manifests":[]') },
    { name: 'an index by its media type', document: manifest(',"mediaType":"application/vnd.oci.image.index.v1+json"') },
    { name: 'a negative size', document: manifest('', CONFIG.replace('"size":1', '"size":-1')) },
    { name: 'a size that is not exact', document: manifest('', CONFIG.replace('"size":1', '"size":9007199254740993')) },
    { name: 'a fractional size', document: manifest('', CONFIG.replace('"size":1', '"size":1.5')) },
    { name: 'a size in words', document: manifest('', CONFIG.replace('"size":1', '"size":"1"')) },
    { name: 'a digest that is a path', document: manifest('', CONFIG.replace(DIGEST, 'sha256:../../etc')) },
    { name: 'annotations that are no texts', document: manifest(',"annotations":{"a":1}') },
    { name: 'data that is no base64', document: manifest('', CONFIG.replace('"size":1', '"size":1,"data":"!"')) },
    { name: 'layers that are no list', document: `{"schemaVersion":2,"config":${CONFIG},"layers":{}}` },
    { name: 'a layer that is no object', document: `{"schemaVersion":2,"config":${CONFIG},"layers":["x"]}` },
    { name: 'too many layers', document: `{"schemaVersion":2,"config":${CONFIG},"layers":[${Array(5000).fill('0').join(',')}]}` },
  ];
  for (const { name, document } of bad) {
    it(`refuse ${name}`, () => {
      assert.throws(
        () => parseManifest(bytes(document)),
        (error) => error instanceof ImageError && error.code === 'DOCUMENT_INVALID',
      );
    });
  }

  it('refuse what is too large, and survive what is nested deep', () => {
    assert.throws(
      () => parseManifest(Buffer.alloc(MAX_MANIFEST_BYTES + 1, 0x20)),
      (error) => error instanceof ImageError && error.code === 'DOCUMENT_TOO_LARGE',
    );
    const deep = manifest(`,"x":${'['.repeat(100_000)}${']'.repeat(100_000)}`);
    try {
      parseManifest(bytes(deep));
    } catch (error) {
      assert.ok(error instanceof ImageError);
    }
  });
});

describe('parseIndex', () => {
  it('keeps what Go keeps', () => {
    const document =
      `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"m","digest":"${DIGEST}","size":1,` +
      `"platform":{"architecture":"amd64","os":"windows","os.version":"10.0.1","os.features":["win32k"]}}],"annotations":{"a":"1"}}`;
    assert.equal(text(encodeIndex(parseIndex(bytes(document)))), document);
  });

  it('refuses a manifest', () => {
    for (const rest of [`"config":${CONFIG}`, '"layers":[]', '"mediaType":"application/vnd.oci.image.manifest.v1+json"']) {
      assert.throws(() => parseIndex(bytes(`{"schemaVersion":2,${rest}}`)), ImageError);
    }
  });
});

describe('parseConfigPlatform', () => {
  it('reads what a config says', () => {
    assert.deepEqual(parseConfigPlatform(bytes('{"os":"linux","architecture":"arm64","variant":"v8","rootfs":{}}')), {
      os: 'linux',
      architecture: 'arm64',
      variant: 'v8',
    });
    assert.deepEqual(parseConfigPlatform(bytes('{}')), { os: '', architecture: '' });
  });
});
