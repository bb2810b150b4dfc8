import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_CONFIG_PATH, parseServiceFlags } from './index.ts';

describe('parseServiceFlags', () => {
  it('lets a flag beat the environment and that the default', () => {
    const env = { SOCI_SNAPSHOTTER_ADDRESS: '/env.sock', SOCI_SNAPSHOTTER_ROOT: '/env' };
    const flags = parseServiceFlags(['--address', '/flag.sock', '--log-level=debug'], env);
    assert.deepEqual([flags.address, flags.root, flags.configPath, flags.logLevel], ['/flag.sock', '/env', DEFAULT_CONFIG_PATH, 'debug']);
  });

  it('knows the sub-commands of the reference', () => {
    assert.equal(parseServiceFlags(['config', 'dump'], {}).command, 'config dump');
    assert.equal(parseServiceFlags(['--config', 'x', 'config', 'default'], {}).command, 'config default');
    assert.equal(parseServiceFlags([], {}).command, 'serve');
  });

  it('refuses what it does not know', () => {
    assert.throws(() => parseServiceFlags(['--nonsense'], {}), { code: 'INVALID' });
    assert.throws(() => parseServiceFlags(['dance'], {}), { code: 'INVALID', message: /dance/ });
    assert.throws(() => parseServiceFlags(['--log-level', 'loud'], {}), { code: 'INVALID', message: /loud/ });
  });
});
