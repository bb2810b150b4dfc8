/** What the command line gets from its surroundings; `main.ts` fills it from the process, tests from what they like. */
export interface Host {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Uint8Array>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborted when the user stops the command. */
  readonly signal: AbortSignal;
  readonly now: () => number;
  /** Told by a command whose threads may still sit in a system call, such as the resolver's, when it is done: the process is to end without them. */
  readonly abandonThreads?: () => void;
}

export interface Output {
  write(text: string | Uint8Array): void;
  /** Set when a person watches, with the stream that progress bars draw on. */
  readonly terminal?: NodeJS.WriteStream;
}

/** Writes one line. */
export function print(output: Output, line: string): void {
  output.write(`${line}\n`);
}
