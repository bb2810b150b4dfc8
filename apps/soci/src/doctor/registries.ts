import { ok, problem, warning, type Check, type Verdict } from './check.ts';
import type { HostAnswer, RegistryProbe } from './registry-probe.ts';

/** Apart from this, tokens are taken for expired, or for not valid yet; the larger is what certificates notice. */
const SKEW_WARNING_MS = 30_000;
const SKEW_PROBLEM_MS = 300_000;

/** Whether registries answer, and mirrors where they have any. */
export const registries: Check = {
  name: 'registry',
  run: async (context, signal) => {
    const probes = await context.registries(signal);
    if (probes.length === 0) return ok('none is configured or in use; name one with --registry');
    return probes.flatMap(judge);
  },
};

/** This machine's clock against those of registries. */
export const clock: Check = {
  name: 'clock',
  run: async (context, signal) => {
    const hosts = (await context.registries(signal)).flatMap(({ hosts: all }) => all);
    const skews = hosts.flatMap(({ host, skewMs }) => (skewMs === undefined ? [] : [{ host, skewMs }]));
    const [worst] = skews.toSorted((a, b) => Math.abs(b.skewMs) - Math.abs(a.skewMs));
    if (worst === undefined) return [];
    const seconds = Math.round(Math.abs(worst.skewMs) / 1_000);
    const text = `the clock is ${seconds} s ${worst.skewMs > 0 ? 'ahead of' : 'behind'} that of ${worst.host}`;
    if (seconds * 1_000 >= SKEW_PROBLEM_MS)
      return problem(text, 'set it, and let chrony or systemd-timesyncd keep it: tokens and certificates are refused');
    if (seconds * 1_000 >= SKEW_WARNING_MS) return warning(text, 'let chrony or systemd-timesyncd keep it: tokens may be refused');
    return ok(`within ${seconds + 1} s of ${skews.length === 1 ? worst.host : `${skews.length} registries`}`);
  },
};

function judge({ registry, hosts, error }: RegistryProbe): readonly Verdict[] {
  if (error !== undefined) return [problem(`${registry}: ${error}`, 'correct its hosts.toml')];
  const isReachable = hosts.some((host) => host.kind === 'answer' && isGood(host.status));
  return hosts.map((host) => {
    const name = host.host === registry ? registry : `${host.host} (for ${registry})`;
    const bad = isReachable ? warning : problem; // another host of the registry steps in
    if (host.kind === 'failed') return bad(`${name}: ${host.reason}`, host.cure);
    const text = `${name} answers ${host.status} after ${host.tookMs} ms`;
    if (isGood(host.status)) return ok(text);
    if (host.status === 429) return warning(text, 'too many requests: log in, or ask through a mirror');
    if (host.status >= 500) return bad(text, 'the registry is not well: see its own log');
    return bad(text, `is it a registry? ${host.url} should answer 200 or 401`);
  });
}

function isGood(status: HostAnswer['status']): boolean {
  return status === 200 || status === 401;
}
