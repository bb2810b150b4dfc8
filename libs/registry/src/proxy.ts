import { BlockList, isIP } from 'node:net';
import { isLoopbackHost } from './addresses.ts';

/** Proxies as the usual environment variables name them. */
export interface ProxyOptions {
  readonly httpProxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy?: string;
}

/** Takes the proxies from an environment, upper-case names first. */
export function proxyFromEnv(env: Readonly<Record<string, string | undefined>>): ProxyOptions {
  const pick = (name: string): string => env[name.toUpperCase()] || env[name.toLowerCase()] || '';
  return { httpProxy: pick('http_proxy'), httpsProxy: pick('https_proxy'), noProxy: pick('no_proxy') };
}

/**
 * Which proxy, if any, serves a URL, by the rules of Go's `httpproxy`, since people set these variables for containerd and us at once: `NO_PROXY` knows address ranges,
 * a leading dot means sub-domains only, `HTTP_PROXY` does not serve https, and this machine itself is never reached by proxy. undici's `EnvHttpProxyAgent` differs in all four.
 *
 * @see https://pkg.go.dev/golang.org/x/net/http/httpproxy
 */
export class ProxyRules {
  readonly #http: string;
  readonly #https: string;
  readonly #exceptions: readonly ((hostname: string, port: string) => boolean)[];

  constructor({ httpProxy = '', httpsProxy = '', noProxy = '' }: ProxyOptions) {
    this.#http = httpProxy;
    this.#https = httpsProxy;
    this.#exceptions = noProxy.split(',').flatMap((entry) => exception(entry.trim().toLowerCase()) ?? []);
  }

  /** @returns the proxy's URL; undefined for a direct connection */
  proxyFor(url: URL): string | undefined {
    const proxy = url.protocol === 'https:' ? this.#https : this.#http;
    if (proxy === '' || isLoopbackHost(url.hostname)) return undefined;
    const hostname = url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
    const port = url.port || (url.protocol === 'https:' ? '443' : '80');
    if (this.#exceptions.some((matches) => matches(hostname, port))) return undefined;
    return proxy.includes('://') ? proxy : `http://${proxy}`;
  }
}

function exception(entry: string): ((hostname: string, port: string) => boolean) | undefined {
  if (entry === '') return undefined;
  if (entry === '*') return () => true;
  const range = addressRange(entry);
  if (range !== undefined) return (hostname) => isIP(hostname) !== 0 && range.check(hostname, isIP(hostname) === 6 ? 'ipv6' : 'ipv4');
  const { host, port: wantedPort } = splitPort(entry);
  const portFits = (port: string): boolean => wantedPort === '' || wantedPort === port;
  if (isIP(host) !== 0) return (hostname, port) => hostname === host && portFits(port);
  const domain = host.replace(/^\*(?=\.)/, '');
  if (domain.startsWith('.')) return (hostname, port) => hostname.endsWith(domain) && portFits(port);
  return (hostname, port) => (hostname === domain || hostname.endsWith(`.${domain}`)) && portFits(port);
}

function addressRange(entry: string): BlockList | undefined {
  const [address = '', bits = ''] = entry.split('/');
  const family = isIP(address);
  if (family === 0 || !/^[0-9]{1,3}$/.test(bits) || Number(bits) > (family === 6 ? 128 : 32)) return undefined;
  const list = new BlockList();
  list.addSubnet(address, Number(bits), family === 6 ? 'ipv6' : 'ipv4');
  return list;
}

function splitPort(entry: string): { readonly host: string; readonly port: string } {
  if (isIP(entry) === 6) return { host: entry, port: '' };
  const match = /^(.*?)(?::([0-9]+))?$/.exec(entry);
  return { host: (match?.[1] ?? entry).replace(/^\[(.*)\]$/, '$1'), port: match?.[2] ?? '' };
}
