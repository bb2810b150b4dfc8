import { describe, it } from 'node:test';
import { missingKubePrograms } from '@soci/testing';

// What the end-to-end tests show with a stand-in for the API server, with a real one.
const missing = missingKubePrograms();
if (missing === undefined) {
  await import('../credential-order.test.ts');
  await import('../credential-secrets.test.ts');
} else {
  describe('credentials with a real API server', () => it('needs its programs', { skip: missing }, () => undefined));
}
