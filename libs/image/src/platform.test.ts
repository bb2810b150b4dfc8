import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Platform } from './descriptor.ts';
import { ImageError } from './errors.ts';
import { dedupePlatforms, matchesPlatform } from './platform-match.ts';
import { formatPlatform, hostPlatform, normalizePlatform, parsePlatform } from './platform.ts';

const host: Platform = { os: 'linux', architecture: 'amd64' };
const parse = (text: string): Platform => parsePlatform(text, host);

describe('parsePlatform', () => {
  const cases = [
    { text: 'linux/amd64', want: { os: 'linux', architecture: 'amd64' } },
    { text: 'linux/x86_64', want: { os: 'linux', architecture: 'amd64' } },
    { text: 'linux/arm64', want: { os: 'linux', architecture: 'arm64' } },
    { text: 'linux/arm64/v8', want: { os: 'linux', architecture: 'arm64', variant: 'v8' } },
    { text: 'linux/aarch64/9', want: { os: 'linux', architecture: 'arm64', variant: 'v9' } },
    { text: 'linux/arm', want: { os: 'linux', architecture: 'arm' } },
    { text: 'linux/arm/v7', want: { os: 'linux', architecture: 'arm', variant: 'v7' } },
    { text: 'linux/arm/6', want: { os: 'linux', architecture: 'arm', variant: 'v6' } },
    { text: 'armel', want: { os: 'linux', architecture: 'arm', variant: 'v6' } },
    { text: 'linux', want: { os: 'linux', architecture: 'amd64' } },
    { text: 'macOS', want: { os: 'darwin', architecture: 'amd64' } },
    { text: 'arm64', want: { os: 'linux', architecture: 'arm64' } },
    { text: 'Linux/AMD64/V1', want: { os: 'linux', architecture: 'amd64' } },
    { text: 'any/thing', want: { os: 'any', architecture: 'thing' } },
    { text: 'windows(10.0.17763)/amd64', want: { os: 'windows', architecture: 'amd64', 'os.version': '10.0.17763' } },
    { text: 'windows(10.0+win32k)/amd64', want: { os: 'windows', architecture: 'amd64', 'os.version': '10.0', 'os.features': ['win32k'] } },
  ];
  for (const { text, want } of cases) {
    it(`takes ${text}`, () => assert.deepEqual(parse(text), want));
  }

  for (const text of [
    '',
    '*',
    'linux/*',
    'nonsense',
    'linux/',
    'linux//v8',
    'linux/arm/v7/x',
    'linux/arm/v7/x/y',
    'lin ux/amd64',
    'linux(%zz)/amd64',
    'a'.repeat(300),
  ]) {
    it(`refuses ${JSON.stringify(text.slice(0, 30))}`, () => {
      assert.throws(
        () => parse(text),
        (error) => error instanceof ImageError && error.code === 'PLATFORM_INVALID',
      );
    });
  }
});

describe('formatPlatform', () => {
  it('writes the parts that are there', () => {
    assert.equal(formatPlatform({ os: 'linux', architecture: 'arm64', variant: 'v8' }), 'linux/arm64/v8');
    assert.equal(formatPlatform({ os: 'linux', architecture: 'amd64', 'os.version': '1' }), 'linux/amd64');
    assert.equal(formatPlatform({ os: '', architecture: 'amd64' }), 'unknown');
  });
});

describe('hostPlatform', () => {
  it('speaks as Go does', () => {
    assert.deepEqual(hostPlatform('x64', 'linux'), { os: 'linux', architecture: 'amd64' });
    assert.deepEqual(hostPlatform('arm64', 'linux'), { os: 'linux', architecture: 'arm64', variant: 'v8' });
    assert.deepEqual(hostPlatform('arm', 'linux'), { os: 'linux', architecture: 'arm', variant: 'v7' });
    assert.deepEqual(hostPlatform('s390x', 'linux'), { os: 'linux', architecture: 's390x' });
  });
});

describe('matchesPlatform', () => {
  const cases = [
    { wanted: 'linux/amd64', candidate: 'linux/x86_64', matches: true },
    { wanted: 'linux/amd64', candidate: 'linux/386', matches: false },
    { wanted: 'linux/amd64/v2', candidate: 'linux/amd64', matches: false },
    { wanted: 'linux/arm64', candidate: 'linux/arm64/v8', matches: true },
    { wanted: 'linux/arm64/v8', candidate: 'linux/arm64', matches: true },
    { wanted: 'linux/arm64', candidate: 'linux/arm/v8', matches: false },
    { wanted: 'linux/arm', candidate: 'linux/arm/v7', matches: true },
    { wanted: 'linux/arm', candidate: 'linux/arm/v6', matches: false },
    { wanted: 'linux/amd64', candidate: 'windows/amd64', matches: false },
    { wanted: 'windows(10.0.17763)/amd64', candidate: 'windows(10.0.17763.1)/amd64', matches: true },
    { wanted: 'windows(10.0.17763)/amd64', candidate: 'windows(10.0.14393)/amd64', matches: false },
    { wanted: 'windows(10.0.26100)/amd64', candidate: 'windows(10.0.20348)/amd64', matches: true },
    { wanted: 'windows(10.0.20348)/amd64', candidate: 'windows(10.0.26100)/amd64', matches: false },
    { wanted: 'windows/amd64', candidate: 'windows(10.0.14393)/amd64', matches: true },
    { wanted: 'linux/amd64', candidate: 'linux(+erofs)/amd64', matches: false },
    { wanted: 'linux(+b+a)/amd64', candidate: 'linux(+a)/amd64', matches: true },
  ];
  for (const { wanted, candidate, matches } of cases) {
    it(`${wanted} ${matches ? 'takes' : 'refuses'} ${candidate}`, () =>
      assert.equal(matchesPlatform(parse(wanted), parse(candidate), host), matches));
  }
});

describe('normalizePlatform', () => {
  it('gives one spelling', () => {
    assert.deepEqual(normalizePlatform({ os: 'Linux', architecture: 'aarch64', variant: 'v8.0' }, host), {
      os: 'linux',
      architecture: 'arm64',
    });
    assert.deepEqual(normalizePlatform({ os: '', architecture: 'i386', variant: 'x' }, host), { os: 'linux', architecture: '386' });
    assert.deepEqual(normalizePlatform({ os: 'linux', architecture: 'armhf' }, host), { os: 'linux', architecture: 'arm', variant: 'v7' });
  });
});

describe('dedupePlatforms', () => {
  it('keeps the first spelling', () => {
    const platforms = ['linux/x86_64', 'linux/amd64', 'linux/arm64/v8', 'linux/arm64'].map((text) => {
      const [os = '', architecture = '', variant] = text.split('/');
      return { os, architecture, ...(variant === undefined ? {} : { variant }) };
    });
    assert.deepEqual(dedupePlatforms(platforms, host), [platforms[0], platforms[2]]);
  });
});
