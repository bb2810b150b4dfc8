import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isLayerType, layerCompression, MEDIA_TYPE } from './media-types.ts';

describe('layerCompression', () => {
  const cases = [
    { type: MEDIA_TYPE.dockerLayerGzip, want: 'gzip' },
    { type: MEDIA_TYPE.dockerForeignLayerGzip, want: 'gzip' },
    { type: MEDIA_TYPE.ociLayerGzip, want: 'gzip' },
    { type: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', want: 'gzip' },
    { type: MEDIA_TYPE.ociLayer, want: 'uncompressed' },
    { type: MEDIA_TYPE.dockerLayer, want: 'unknown' },
    { type: MEDIA_TYPE.dockerForeignLayer, want: 'unknown' },
    { type: 'application/vnd.oci.image.layer.nondistributable.v1.tar', want: 'none' },
    { type: MEDIA_TYPE.ociLayerZstd, want: 'zstd' },
    { type: MEDIA_TYPE.dockerLayerZstd, want: 'zstd' },
    { type: `${MEDIA_TYPE.ociLayerGzip}+encrypted`, want: 'gzip' },
    { type: `${MEDIA_TYPE.ociLayer}+encrypted`, want: 'none' },
    { type: `${MEDIA_TYPE.dockerLayerGzip}+encrypted`, want: 'none' },
    { type: 'application/vnd.oci.image.layer.v1.cpio', want: undefined },
    { type: 'application/vnd.in-toto+json', want: undefined },
    { type: '', want: undefined },
  ];
  for (const { type, want } of cases) {
    it(`takes ${type || 'nothing'} for ${want ?? 'no layer'}`, () => assert.equal(layerCompression(type), want));
  }
});

describe('isLayerType', () => {
  it('goes by the prefix for OCI types and by the list for Docker ones', () => {
    assert.ok(isLayerType('application/vnd.oci.image.layer.'));
    assert.ok(isLayerType(`${MEDIA_TYPE.dockerLayer}+x`));
    assert.ok(!isLayerType(MEDIA_TYPE.ociManifest));
    assert.ok(!isLayerType(MEDIA_TYPE.ztoc));
    assert.ok(!isLayerType(''));
  });
});
