import { BlockList, isIP, type LookupFunction } from 'node:net';
import { NameLookup } from './name-lookup.ts';

const loopback = blockList(['127.0.0.0/8', '::1/128']);
/** Link-local, where cloud machines find their metadata service, and its addresses elsewhere, also through NAT64. */
const metadata = blockList([
  '169.254.0.0/16',
  'fe80::/10',
  'fd00:ec2::254/128',
  '100.100.100.200/32',
  '0.0.0.0/8',
  '::/128',
  '64:ff9b::a9fe:0/112',
]);
const internal = blockList([
  ...[
    '0.0.0.0/8',
    '10.0.0.0/8',
    '100.64.0.0/10',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '172.16.0.0/12',
    '192.168.0.0/16',
    '224.0.0.0/4',
    '240.0.0.0/4',
  ],
  ...['64:ff9b::/96', '::/128', '::1/128', 'fc00::/7', 'fe80::/10', 'ff00::/8'],
]);

const names = new NameLookup();

/** Whether a URL's host name means this machine: `localhost`, 127.0.0.0/8, `[::1]`. */
export function isLoopbackHost(hostname: string): boolean {
  return hostname === 'localhost' || contains(loopback, hostname);
}

/** Whether a URL's host name is a literal address that no public registry would name: private, loopback, link-local, unspecified, multicast. */
export function isInternalAddress(hostname: string): boolean {
  return /(?:^|\.)localhost\.?$/.test(hostname) || contains(internal, hostname);
}

/** Resolves a name like Node does. */
export const boundedLookup: LookupFunction = (hostname, options, callback) => {
  names.lookup(hostname, options, (error, addresses) => {
    const [first] = addresses;
    if (error !== null || first === undefined) callback(error ?? new Error(`${hostname} has no address`), '');
    else if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  });
};

/** The same, but not to a link-local or metadata address: a name can point anywhere. */
export const guardedLookup: LookupFunction = (hostname, options, callback) => {
  names.lookup(hostname, options, (error, addresses) => {
    if (error !== null) {
      callback(error, '');
      return;
    }
    const allowed = addresses.filter(({ address }) => !contains(metadata, address));
    const [first] = allowed;
    if (first === undefined) callback(new Error(`${hostname} resolves to a link-local or metadata address`), '');
    else if (options.all === true) callback(null, allowed);
    else callback(null, first.address, first.family);
  });
};

function contains(list: BlockList, hostname: string): boolean {
  const address = hostname.replace(/^\[(.*)\]$/, '$1');
  const family = isIP(address);
  return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

function blockList(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', bits] = range.split('/');
    list.addSubnet(address, Number(bits), isIP(address) === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}
