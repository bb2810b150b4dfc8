import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Descriptor, MEDIA_TYPE } from '@soci/image';
import { formatBuildEvent } from './events.ts';
import { planLayer } from './layer-plan.ts';

const layer = (mediaType: string, size = 65_535): Descriptor => ({ mediaType, digest: `sha256:${'ab'.repeat(32)}`, size });
const MIN = 65_535;

describe('planLayer', () => {
  const built = [
    { type: MEDIA_TYPE.ociLayerGzip, algorithm: 'gzip' },
    { type: MEDIA_TYPE.dockerForeignLayerGzip, algorithm: 'gzip' },
    { type: MEDIA_TYPE.ociLayer, algorithm: 'uncompressed' },
    { type: MEDIA_TYPE.dockerLayer, algorithm: 'uncompressed' },
  ];
  for (const { type, algorithm } of built) {
    it(`builds ${type}, of exactly the least size too`, () => assert.deepEqual(planLayer(layer(type), MIN), { kind: 'build', algorithm }));
  }

  it('skips what is smaller before it looks at the packing', () => {
    const plan = planLayer(layer(MEDIA_TYPE.ociLayerZstd, 5223), MIN);
    assert.ok(plan.kind === 'skip');
    assert.equal(
      formatBuildEvent(plan.event),
      `ztoc skipped - layer sha256:${'ab'.repeat(32)} (${MEDIA_TYPE.ociLayerZstd}) size 5223 is less than min-layer-size 65535`,
    );
  });

  for (const [type, got] of [
    [MEDIA_TYPE.ociLayerZstd, 'zstd'],
    [MEDIA_TYPE.dockerLayerZstd, 'zstd'],
    ['application/vnd.oci.image.layer.nondistributable.v1.tar', ''],
  ] as const) {
    it(`skips ${type}`, () => {
      const plan = planLayer(layer(type), MIN);
      assert.ok(plan.kind === 'skip');
      assert.equal(
        formatBuildEvent(plan.event),
        `ztoc skipped - layer sha256:${'ab'.repeat(32)} (${type}) is compressed in an unsupported format. expect: [tar, gzip, unknown] but got "${got}"`,
      );
    });
  }

  it('ignores prefetch artifacts', () => assert.deepEqual(planLayer(layer(MEDIA_TYPE.sociPrefetch), MIN), { kind: 'ignore' }));

  for (const type of ['', MEDIA_TYPE.ociManifest, MEDIA_TYPE.ztoc, 'application/vnd.oci.image.layer.']) {
    it(`refuses ${type || 'nothing'}`, () => {
      assert.throws(() => planLayer(layer(type), MIN), { code: 'LAYER_UNSUPPORTED' });
    });
  }
});
