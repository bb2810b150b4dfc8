/** How long things wait, in milliseconds. */
export interface SyncTimings {
  /** Between two looks at the kubeconfig. */
  readonly kubeconfigEveryMs: number;
  /** Waiting times after failures: the longest is what an API server that is back may have to wait for us. */
  readonly retryFirstMs: number;
  readonly retryMaxMs: number;
  /** The same after a refusal. */
  readonly deniedFirstMs: number;
  readonly deniedMaxMs: number;
  /** From list to list where watching is not allowed. */
  readonly relistMs: number;
  /** After which the server is asked to end a watch; half as much again is added by chance. */
  readonly watchMs: number;
  /** Longest silence of a server that has shown that it sends bookmarks, which come about every minute. */
  readonly bookmarkIdleMs: number;
  /** What a server may take longer to end a watch than it was asked to. */
  readonly slackMs: number;
}

export const DEFAULT_TIMINGS: SyncTimings = {
  kubeconfigEveryMs: 2_000,
  retryFirstMs: 200,
  retryMaxMs: 2_500,
  deniedFirstMs: 500,
  deniedMaxMs: 30_000,
  relistMs: 30_000,
  watchMs: 300_000,
  bookmarkIdleMs: 150_000,
  slackMs: 15_000,
};
