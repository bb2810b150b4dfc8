/** How requests are timed and repeated. Names and defaults are those of the `[http]` table of config.toml, where it has them. */
export interface HttpOptions {
  /** TCP and TLS handshake. */
  readonly dialTimeoutMs: number;
  /** From the request sent to the head of the answer. */
  readonly responseHeaderTimeoutMs: number;
  /** Between two pieces of a body. */
  readonly bodyStallTimeoutMs: number;
  /** Bytes of a body that have to come within each `progressMs`; a body that trickles is given up, and taken up where it was by a new request. 0 for none. */
  readonly progressBytes: number;
  readonly progressMs: number;
  /** One whole attempt, body included; uploads are bounded by the two above alone. */
  readonly requestTimeoutMs: number;
  /** Repeats after the first attempt; negative means none. A body that broke off is taken up where it ended, and counts from zero when it had got on. */
  readonly maxRetries: number;
  /** Wait before the first repeat; doubles with each. */
  readonly minWaitMs: number;
  /** Longest wait, also when `Retry-After` asks for more. */
  readonly maxWaitMs: number;
  /** Connections to one host at a time; further requests queue. */
  readonly maxConnectionsPerHost: number;
  /** Size of the pieces in which blobs are pushed; 0 sends a blob in one request, which every registry takes. */
  readonly pushChunkBytes: number;
}

export const DEFAULT_HTTP_OPTIONS: HttpOptions = {
  dialTimeoutMs: 3_000,
  responseHeaderTimeoutMs: 3_000,
  bodyStallTimeoutMs: 30_000,
  progressBytes: 16 << 10,
  progressMs: 10_000,
  requestTimeoutMs: 300_000,
  maxRetries: 8,
  minWaitMs: 30,
  maxWaitMs: 300_000,
  maxConnectionsPerHost: 32,
  pushChunkBytes: 0,
};
