export interface LoggedRequest {
  readonly method: string;
  /** E.g. `/v2/team/app/blobs/sha256:…`. */
  readonly path: string;
  readonly status: number;
  /** Who logged in, or tried to; undefined for requests without a login. */
  readonly user: string | undefined;
  readonly userAgent: string;
}

/** The keys of docker-registry's JSON log that are read here. */
interface Line {
  readonly msg?: string;
  readonly 'http.request.id'?: string;
  readonly 'http.request.method'?: string;
  readonly 'http.request.uri'?: string;
  readonly 'http.request.useragent'?: string;
  readonly 'http.response.status'?: number;
  readonly 'auth.user.name'?: string;
}

const REFUSED = 401;

/** The requests in a log of docker-registry in JSON, in the order in which they ended. */
export function loggedRequests(log: string): readonly LoggedRequest[] {
  const requests: LoggedRequest[] = [];
  const users = new Map<string, string>();
  for (const text of log.split('\n')) {
    const line = parse(text);
    const id = line?.['http.request.id'];
    if (line === undefined || id === undefined) continue;
    const message = line.msg ?? '';
    const user = line['auth.user.name'] ?? /^error authenticating user "(.*)"/.exec(message)?.[1];
    if (user !== undefined && user !== '') users.set(id, user); // the line that ends a request does not always name who asked
    const isRefusal = message.startsWith('error authorizing context');
    if (!isRefusal && !message.startsWith('response completed')) continue;
    requests.push({
      method: line['http.request.method'] ?? '',
      path: line['http.request.uri'] ?? '',
      status: isRefusal ? REFUSED : (line['http.response.status'] ?? 0),
      user: users.get(id),
      userAgent: line['http.request.useragent'] ?? '',
    });
  }
  return requests;
}

/** @returns undefined for lines that are no JSON, of which the log has one a request too, and for one that is still being written */
function parse(text: string): Line | undefined {
  if (!text.startsWith('{') || !text.endsWith('}')) return undefined;
  return JSON.parse(text) as Line;
}
