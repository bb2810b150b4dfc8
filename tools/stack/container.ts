export interface Mount {
  /** Of this machine; a `tmpfs` has none. */
  readonly source?: string;
  /** In the container. */
  readonly target: string;
  readonly isReadOnly?: boolean;
  /** Of a tmpfs: `mode=0700,uid=10001`. */
  readonly options?: string;
}

export interface ContainerSpec {
  readonly name: string;
  /** Name of its image without registry, tag and digest: `soci/node`. */
  readonly image: string;
  readonly logPath: string;
  /** With the entrypoint of the image. */
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
  /** `uid:gid`; root where left out. */
  readonly user?: string | undefined;
  /** Keeps every right that whoever starts it has. */
  readonly isPrivileged: boolean;
  /** Capabilities that it has when it is not privileged: `CHOWN`. */
  readonly capabilities: readonly string[];
}

/** One service of a stack, however it is run. */
export interface Container extends AsyncDisposable {
  readonly name: string;
  readonly isRunning: boolean;
  readonly exitCode: number | null;
  /** Also once more, after it has ended. */
  start(): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** @returns milliseconds until its process was gone */
  exited(timeoutMs?: number): Promise<number>;
  /** Runs a program with the rights and mounts that the service itself has. @throws when it does not end with status 0 in time */
  exec(command: readonly string[], timeoutMs?: number): Promise<void>;
  /** How to run a program within it for callers that read its output as it comes. */
  execCommand(command: readonly string[]): readonly [string, ...string[]];
  /** The end of what it printed, for whoever has to be told why it does not run. */
  logTail(): Promise<string>;
}

/** What a health check may take. */
export const EXEC_TIMEOUT_MS = 10_000;
