/** What belongs to one call and not to its message. */
export interface CallOptions {
  /** Ends the call; it then rejects with the signal's reason. */
  readonly signal: AbortSignal;
  /** How long the call may take in all; without it the channel's default holds. `Infinity` for none. */
  readonly deadlineMs?: number;
  /** Headers besides those of the channel, names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
}

export type UnaryCall<Request, Response> = (request: Request, options: CallOptions) => Promise<Response>;

/** The answers in order. The server is held back while the consumer is busy; leaving the loop early cancels the call. */
export type StreamCall<Request, Response> = (request: Request, options: CallOptions) => AsyncIterable<Response>;

/** A call in which both sides send. Disposing of it before its end cancels it. */
export interface DuplexCall<Request, Response> extends Disposable {
  /** Resolves when the transport takes more. */
  send(request: Request): Promise<void>;
  /** The next answer, or undefined after the last. */
  receive(): Promise<Response | undefined>;
  /** Says that no further message follows. */
  end(): void;
}
