import { isHubHost } from './hub.ts';
import { matchesLabel } from './label-pattern.ts';

/** A key by which the kubelet's rules tell images apart, `*.example.com:5000/team`, taken to pieces. */
export interface ImagePattern {
  /** Host and path, without scheme and API version: what keys are ordered by. */
  readonly text: string;
  readonly host: string;
  readonly port: string;
  /** Empty, or with a slash before it. */
  readonly path: string;
}

/** An image as patterns see it: without tag and digest, Docker Hub by its one name. */
export interface PatternTarget {
  readonly host: string;
  readonly labels: readonly string[];
  readonly port: string;
  readonly path: string;
}

/** Longer than any host with any repository name: such a key can match nothing. */
const MAX_KEY_LENGTH = 2_048;
const PATTERN_CHARACTER = /[*?[\\]/;

/** @returns undefined for a key that is longer than whatever it could match */
export function parseImagePattern(key: string): ImagePattern | undefined {
  if (key.length > MAX_KEY_LENGTH) return undefined;
  const bare = key.replace(/^https?:\/\//, '');
  const slash = bare.indexOf('/');
  const authority = slash < 0 ? bare : bare.slice(0, slash);
  const written = slash < 0 ? '' : bare.slice(slash);
  const versionless = /^\/v[12]\//.test(written) ? written.slice('/v1'.length) : written;
  const path = versionless === '/' ? '' : versionless;
  return { text: path === '' ? authority : authority + path, ...splitAuthority(authority), path };
}

/**
 * @param host registry authority with its port, if any; any name of Docker Hub
 * @param repository without tag and digest
 */
export function patternTarget(host: string, repository: string): PatternTarget {
  const wanted = splitAuthority(isHubHost(host) ? 'docker.io' : host);
  return { ...wanted, labels: wanted.host.split('.'), path: `/${repository}` };
}

/** Whether a host has to be compared label by label. */
export function isHostPattern(host: string): boolean {
  return PATTERN_CHARACTER.test(host);
}

/** As many labels as the pattern has, each of which fits; what has no sign of a pattern in it is compared first, because that is quick. */
export function matchesHost(labels: readonly string[], target: readonly string[]): boolean {
  if (labels.length !== target.length) return false;
  if (labels.some((label, i) => label !== target[i] && !isHostPattern(label))) return false;
  return labels.every((label, i) => matchesLabel(label, target[i] ?? ''));
}

/** The kubelet's rule for one pattern: labels of the host, the port as text, the path as a plain prefix that is not cut at segments. */
export function matchesImage(pattern: ImagePattern, target: PatternTarget): boolean {
  return pattern.port === target.port && target.path.startsWith(pattern.path) && matchesHost(pattern.host.split('.'), target.labels);
}

/** `host:port` or `[address]:port`; without a port the brackets stay, and so does whatever has more than one colon. */
function splitAuthority(authority: string): { readonly host: string; readonly port: string } {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):([^:]*)$/.exec(authority);
  return { host: match?.[1] ?? match?.[2] ?? authority, port: match?.[3] ?? '' };
}
