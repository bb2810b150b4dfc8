import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Descriptor, MEDIA_TYPE, sha256Digest } from '@soci/image';
import { ANNOTATION, BUILD_TOOL } from './annotations.ts';
import { encodeSociIndex, parseSociIndex } from './soci-index.ts';

const LAYER = 'sha256:13573a507117e679ba9c6f11e5b7e7aa84c0b1c5dcd1dbb159ec27f16e83674a';
const OTHER = `sha256:${'cd'.repeat(32)}`;

const ztoc: Descriptor = {
  mediaType: MEDIA_TYPE.ztoc,
  digest: 'sha256:21e45c76c220f39bb3ea65a184c491446d84c6f546a46272a9d0594e2249ffb4',
  size: 99752,
  annotations: {
    [ANNOTATION.spanSize]: '3000',
    [ANNOTATION.layerMediaType]: MEDIA_TYPE.dockerLayerGzip,
    [ANNOTATION.layerDigest]: LAYER,
  },
};
const prefetch: Descriptor = {
  mediaType: MEDIA_TYPE.sociPrefetch,
  digest: 'sha256:520900f4a24d9f67823edbe61838eec1b7bd8c64667f0a577a264715d4e9a37b',
  size: 66,
  annotations: { [ANNOTATION.layerDigest]: LAYER },
};
const subject: Descriptor = {
  mediaType: MEDIA_TYPE.dockerManifest,
  digest: 'sha256:999033917394962012b5b88374c09d5ca64c911cba7ef50f7ab481a6c542c8e0',
  size: 425,
  platform: { os: 'linux', architecture: 'amd64' },
  annotations: { not: 'kept' },
};

describe('encodeSociIndex', () => {
  const cases = [
    { name: 'v1', version: 'v1', blobs: [ztoc], size: 886, hex: 'f48aa4621225eb7a72fc196ac79f47ad1955630b7e62a96c0bdae9e1462d67cc' },
    {
      name: 'v1 with prefetch',
      version: 'v1',
      blobs: [ztoc, prefetch],
      size: 1167,
      hex: 'cf4c462eb7cea7cc054259fe742cef1ddeac0736307d56c87fd310bc18f3571c',
    },
    { name: 'v2', version: 'v2', blobs: [ztoc], size: 713, hex: '60c142528d1aa89cd0d55a54253b4493962f654dff52ccf9198d1af72d59670b' },
  ] as const;
  for (const { name, version, blobs, size, hex } of cases) {
    it(`writes ${name} as the Go tool does`, () => {
      const bytes = encodeSociIndex({ version, blobs, buildTool: BUILD_TOOL, subject });
      assert.equal(bytes.length, size);
      assert.equal(sha256Digest(bytes), `sha256:${hex}`);
    });
  }

  it('needs a subject for v1', () => {
    assert.throws(() => encodeSociIndex({ version: 'v1', blobs: [ztoc], buildTool: BUILD_TOOL }), { code: 'INDEX_INVALID' });
  });
});

describe('parseSociIndex', () => {
  it('gives back what was written', () => {
    const index = parseSociIndex(encodeSociIndex({ version: 'v1', blobs: [ztoc, prefetch], buildTool: BUILD_TOOL, subject }));
    assert.equal(index.version, 'v1');
    assert.deepEqual([...index.ztocs.keys()], [LAYER]);
    assert.equal(index.ztocs.get(LAYER)?.descriptor.digest, ztoc.digest);
    assert.equal(index.ztocs.get(LAYER)?.layerMediaType, MEDIA_TYPE.dockerLayerGzip);
    assert.equal(index.ztocs.get(LAYER)?.disableXattrs, false);
    assert.equal(index.prefetch.get(LAYER)?.digest, prefetch.digest);
    assert.equal(index.subject?.digest, subject.digest);
    assert.equal(index.blobs.length, 2);
  });

  it('reads the flag that layers have no extended attributes', () => {
    for (const [value, want] of [
      ['true', true],
      ['1', true],
      ['false', false],
      ['yes', false],
    ] as const) {
      const blob = { ...ztoc, annotations: { ...ztoc.annotations, [ANNOTATION.disableXattrs]: value } };
      assert.equal(parseSociIndex(encodeSociIndex({ version: 'v2', blobs: [blob], buildTool: '' })).ztocs.get(LAYER)?.disableXattrs, want);
    }
  });

  it('takes the last ztoc and the first prefetch artifact of a layer, and no blob without a layer', () => {
    const blobs = [
      ztoc,
      prefetch,
      { ...ztoc, digest: OTHER },
      { ...prefetch, digest: OTHER },
      { ...ztoc, annotations: {} },
      { ...ztoc, annotations: { [ANNOTATION.layerDigest]: '__proto__' } },
    ];
    const index = parseSociIndex(encodeSociIndex({ version: 'v2', blobs, buildTool: '' }));
    assert.deepEqual(
      [...index.ztocs.values()].map(({ descriptor }) => descriptor.digest),
      [OTHER],
    );
    assert.deepEqual(
      [...index.prefetch.values()].map(({ digest }) => digest),
      [prefetch.digest],
    );
  });

  it('refuses what is no SOCI index', () => {
    const image = Buffer.from(encodeSociIndex({ version: 'v2', blobs: [ztoc], buildTool: '' })).toString();
    for (const text of [
      '',
      '{}',
      '[]',
      image.replace('soci.index.v2', 'soci.index.v3'),
      image.slice(0, -2),
      image.replace('"size":99752', '"size":-1'),
    ]) {
      assert.throws(() => parseSociIndex(Buffer.from(text)), { code: 'INDEX_INVALID' });
    }
  });
});
