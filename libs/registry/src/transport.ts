import type { Connection } from './connection.ts';

/** One request, one attempt. */
export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** An iterable needs its length in `content-length`. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>;
  /** Whom it goes to. A token server's name must not resolve to a link-local address. */
  readonly purpose?: 'registry' | 'token';
  /** How its connection is made, if in a way of its own. */
  readonly connection?: Connection;
  /** In place of `responseHeaderTimeoutMs`. */
  readonly responseHeaderTimeoutMs?: number;
  /** What the attempt as a whole may take, in place of the transport's limit. */
  readonly requestTimeoutMs?: number;
  /** The attempt as a whole has no limit: a large upload takes its time. */
  readonly unlimited?: boolean;
}

export interface HttpResponse {
  readonly status: number;
  /** All values of a header, one for each line. */
  headerLines(name: string): readonly string[];
  /** The first value. */
  header(name: string): string | undefined;
  readonly body: ResponseBody;
}

/** A body as it arrives. It must be read to its end or discarded, or its connection stays taken. */
export interface ResponseBody extends AsyncIterable<Uint8Array> {
  /** The next piece if it is here already. The caller owns it. */
  take(): Uint8Array | undefined;
  /**
   * Waits for more.
   * @returns whether `take` has something; false at the end
   * @throws what broke the connection, or the reason of the signal that the request was sent with
   */
  more(): Promise<boolean>;
  /** Gives the connection back: a short rest is read and dropped, a long one cut off. */
  discard(): void;
}

/** Sends requests. Follows no redirect, repeats nothing, knows no credential. */
export interface Transport extends AsyncDisposable {
  /**
   * @returns when the head of the answer is there
   * @throws {RegistryError} `UNREACHABLE`, `TIMEOUT`; the signal's reason when it fires
   */
  send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse>;
}

/**
 * Reads a whole body.
 *
 * @returns undefined when it is longer than `maxBytes`; the rest is discarded
 */
export async function readBody(body: ResponseBody, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
}
