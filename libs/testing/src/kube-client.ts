import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';

export interface KubeRequest {
  readonly url: string;
  /** Path of the file that holds the server's certificate and its issuer. */
  readonly caPath: string;
  readonly token: string;
  readonly method: string;
  /** E.g. `/api/v1/namespaces/default/secrets`. */
  readonly path: string;
  readonly body?: unknown;
  /** Of the body; a PATCH must name its kind, e.g. `application/merge-patch+json`. */
  readonly contentType?: string;
}

export interface KubeAnswer<T> {
  readonly status: number;
  readonly body: T;
}

const TIMEOUT_MS = 15_000;

/** One JSON request to an API server. @returns whatever it answers; a status is never thrown */
export async function askKube<T>({ url, caPath, token, method, path, body, contentType }: KubeRequest): Promise<KubeAnswer<T>> {
  const { promise, resolve, reject } = Promise.withResolvers<KubeAnswer<T>>();
  const sent = request(
    new URL(path, url),
    {
      method,
      agent: false,
      ca: readFileSync(caPath),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: { authorization: `Bearer ${token}`, accept: 'application/json', 'content-type': contentType ?? 'application/json' },
    },
    (answer) => {
      text(answer).then((answered) => {
        const isJson = answer.headers['content-type']?.includes('json') === true;
        resolve({ status: answer.statusCode ?? 0, body: (isJson ? JSON.parse(answered) : answered) as T });
      }, reject);
    },
  );
  sent.on('error', reject);
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  return await promise;
}

/** @param what was asked for, for the message @throws for a status that is no success */
export function bodyOf<T>({ status, body }: KubeAnswer<T>, what: string): T {
  if (status >= 300) throw new Error(`${what}: ${status} ${JSON.stringify(body)}`);
  return body;
}
