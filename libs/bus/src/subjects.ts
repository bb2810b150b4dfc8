import type { ServiceName } from './bus.ts';

const ROOT = 'soci.v1';
/** Stands for all nodes where a service is there for all of them; no node is called so. */
const ALL_NODES = '_all';
const ANY = '*';

/** Who a client of the bus is: a service, and the node it runs on, or none where it is there for all nodes. */
export interface Identity {
  readonly service: ServiceName;
  readonly node: string | undefined;
}

/** What a user of the server may do. */
export interface Permissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** It may publish one answer to each request that it was sent. */
  readonly mayRespond: boolean;
}

/** @param node that asks; left out: whichever */
export function requestSubject(service: ServiceName, method: string, node = ANY): string {
  return `${ROOT}.request.${node}.${service}.${method}`;
}

/** The node that asks, as the server has let it. */
export function nodeOfRequest(subject: string): string {
  return subject.split('.')[3] ?? '';
}

export function eventSubject(service: ServiceName, topic: string, node: string | undefined): string {
  return `${ROOT}.event.${node ?? ALL_NODES}.${service}.${topic}`;
}

/** Where answers go. Only this service of this node listens there. */
export function inboxPrefix({ service, node }: Identity): string {
  return `_INBOX.${node ?? ALL_NODES}.${service}`;
}

/** Whether this is where answers to that node go: a request must not have its answer published as something else. */
export function isInboxOf(node: string, reply: string): boolean {
  return reply.startsWith(`_INBOX.${node}.`);
}

/** Which services run once for all nodes; the others run on each. */
export const SERVES_ALL_NODES: Readonly<Record<ServiceName, boolean>> = {
  'registry-fetcher': false,
  'cri-proxy': false,
  'secret-syncer': true,
};

/** The one place that says who may do what on the server; docs/bus.md shows it. */
export function permissionsOf({ service, node }: Identity): Permissions {
  switch (service) {
    case 'registry-fetcher':
      return {
        publish: [requestSubject('cri-proxy', ANY, node), requestSubject('secret-syncer', ANY, node)],
        subscribe: [
          `${inboxPrefix({ service, node })}.>`,
          eventSubject('cri-proxy', ANY, node),
          eventSubject('secret-syncer', ANY, undefined),
        ],
        mayRespond: false,
      };
    case 'cri-proxy':
    case 'secret-syncer':
      return { publish: [eventSubject(service, ANY, node)], subscribe: [requestSubject(service, ANY, node)], mayRespond: true };
  }
}
