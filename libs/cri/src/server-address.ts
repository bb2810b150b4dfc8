const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*:/;
const CONTROL = /[\u0000-\u001f\u007f]/;

/**
 * The host that containerd reads out of `server_address`, which it parses as Go's `net/url` does: a name without a scheme has no host,
 * `name:port` is a scheme with something opaque behind it, and `127.0.0.1:5000` is no URL at all.
 *
 * @returns the host with its port, lower case; empty when there is none; undefined when the text cannot be parsed
 */
export function hostOfServerAddress(address: string): string | undefined {
  if (CONTROL.test(address) || address.startsWith(':')) return undefined;
  const scheme = SCHEME.exec(address)?.[0] ?? '';
  const rest = address.slice(scheme.length).split(/[?#]/, 1)[0] ?? '';
  if (!rest.startsWith('/')) {
    if (scheme !== '') return '';
    return rest.split('/', 1)[0]?.includes(':') ? undefined : '';
  }
  if (!rest.startsWith('//') || (scheme === '' && rest.startsWith('///'))) return '';
  const authority = rest.slice(2).split('/', 1)[0] ?? '';
  const host = authority.slice(authority.lastIndexOf('@') + 1);
  return isHost(host) ? host.toLowerCase() : undefined;
}

function isHost(text: string): boolean {
  return text === '' || /^(?:\[[0-9A-Fa-f:.]+\]|[^\s:"<>[\]\\^`{|}%]*)(?::[0-9]*)?$/.test(text);
}
