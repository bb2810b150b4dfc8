import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadConfig, parseConfig, toToml } from './index.ts';

const parse = (source: string, strict = false) => parseConfig(source, 'config.toml', { strict });

describe('parseConfig', () => {
  it('fills in the defaults of the reference', () => {
    const { config, warnings } = parse('');
    assert.equal(config.mountTimeoutSec, 30);
    assert.equal(config.http.dialTimeoutMsec, 3_000);
    assert.equal(config.pullModes.sociV2.enable, true);
    assert.equal(config.pullModes.sociV1.enable, false);
    assert.equal(config.contentStore.type, 'soci');
    assert.deepEqual(warnings, []);
  });

  it('takes an explicit zero for the default, and keys in any case', () => {
    const { config } = parse('MOUNT_TIMEOUT_SEC = 0\n[http]\nmaxretries = 2\n[Blob]\nread_timeout_sec = 5\n');
    assert.equal(config.mountTimeoutSec, 30);
    assert.equal(config.http.maxRetries, 2);
    assert.equal(config.blob.readTimeoutSec, 5);
  });

  it('names an unknown key with its line and the nearest known one', () => {
    const { warnings } = parse('debug = true\n[blob]\nmax_retry = 3\n');
    assert.ok(warnings.includes('config file config.toml:3: unknown key blob.max_retry, did you mean max_retries?'), warnings.join('\n'));
    assert.throws(() => parse('nonsense = 1', true), { code: 'UNKNOWN_KEY' });
  });

  it('names the first of very many unknown keys, and counts the others', () => {
    const { warnings } = parse(Array.from({ length: 50_000 }, (_, i) => `k${i} = 1`).join('\n'));
    assert.equal(warnings.length, 51);
    assert.equal(warnings.at(-1), 'config file config.toml: 49950 more unknown keys');
    assert.equal(parse(`${'k'.repeat(1_000_000)} = 1`).warnings.length, 1);
  });

  it('names a key without effect once', () => {
    assert.deepEqual(parse('[fuse]\nattr_timeout = 5\n').warnings, [
      'config file config.toml: fuse.attr_timeout has no effect: names are served by the kernel',
    ]);
  });

  it('refuses wrong types and broken TOML with the place', () => {
    assert.throws(() => parse('mount_timeout_sec = "x"'), { code: 'INVALID', message: /mount_timeout_sec/ });
    assert.throws(() => parse('mount_timeout_sec = -1'), { code: 'INVALID', message: /mount_timeout_sec/ });
    assert.throws(() => parse('[http]\nDialTimeoutMsec = 9000000000'), { code: 'INVALID' });
    assert.throws(() => parse('a = \n'), { code: 'INVALID', message: /config\.toml:1/ });
    assert.throws(() => parse('[content_store]\ntype = "other"'), { code: 'INVALID' });
  });

  it('keeps hosts as they are spelled', () => {
    const { config } = parse('[resolver.host."r_x.example:5000"]\nmirrors = [{ host = "https://m.example" }]\n');
    assert.deepEqual(config.resolver.host?.['r_x.example:5000']?.mirrors, [
      { host: 'https://m.example', insecure: false, requestTimeoutSec: 0, credentials: 'mirror' },
    ]);
  });

  it('prints what it reads back to the same values', () => {
    const { file } = parse('[content_store]\ntype = "containerd"\n[resolver.host."a.b"]\nmirrors = [{ host = "https://m" }]\n');
    assert.deepEqual(parse(toToml(file)).file, file);
  });
});

describe('loadConfig', () => {
  it('does without the default file, not without another', async () => {
    const missing = '/nonexistent/config.toml';
    assert.equal((await loadConfig(missing, { defaultPath: missing })).config.maxConcurrency, 100);
    await assert.rejects(loadConfig(missing, { defaultPath: '/other' }), { code: 'NOT_FOUND', message: /failed to open config file/ });
  });
});
