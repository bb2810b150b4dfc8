import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { errnoName, LinuxError, type LinuxErrorCode } from './linux-error.ts';
import type { OperationArguments, OperationName, OperationResult } from './operations.ts';
import type { WorkerAnswer, WorkerCall } from './syscall-worker.ts';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** From the call to the answer, the wait for earlier calls included. */
  readonly deadlineMs?: number | undefined;
}

interface Call {
  readonly request: WorkerCall;
  readonly resolve: (value: unknown) => void;
  /** Safe to call more than once. */
  readonly reject: (error: unknown) => void;
  readonly release: () => void;
}

export const DEFAULT_DEADLINE_MS = 10_000;
/** A thread that waits for calls holds ten megabytes. */
const IDLE_MS = 10_000;
const MAX_QUEUED_CALLS = 4096;
const MAX_STUCK_THREADS = 4;
const WORKER = new URL(`./syscall-worker${extname(import.meta.url)}`, import.meta.url);

/**
 * A thread of its own for system calls that may block on a filesystem we serve ourselves, one at a time, each with a deadline. The main thread stays
 * free to serve it, and so does libuv's pool. A call that passes its deadline rejects; its thread is then taken for stuck and another takes over, up to
 * `MAX_STUCK_THREADS`. A stuck thread that comes back is ended, and so is one that has had nothing to do for a while.
 *
 * A process with stuck threads ends by `exitNow` alone: `process.exit` waits for them.
 */
export class SyscallThread implements AsyncDisposable {
  readonly #queue: Call[] = [];
  readonly #stuck = new Set<Worker>();
  #worker: Worker | undefined;
  #running: Call | undefined;
  #idle: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** Threads that sit in a call whose deadline is over. */
  get stuckThreads(): number {
    return this.#stuck.size;
  }

  /**
   * @throws {LinuxError} the errno of the call, or `DEADLINE_EXCEEDED`, `THREADS_STUCK`, `QUEUE_FULL`, `THREAD_DIED`
   * @throws the signal's reason; a call that runs already goes on without anybody listening
   */
  run<N extends OperationName>(
    operation: N,
    args: OperationArguments<N>,
    { signal, deadlineMs = DEFAULT_DEADLINE_MS }: CallOptions = {},
  ): Promise<OperationResult<N>> {
    signal?.throwIfAborted();
    if (this.#isClosed) throw new LinuxError('THREAD_DIED', `${operation}: the thread was closed`);
    if (this.#stuck.size >= MAX_STUCK_THREADS)
      throw new LinuxError('THREADS_STUCK', `${operation}: ${this.#stuck.size} earlier calls never came back`);
    if (this.#queue.length >= MAX_QUEUED_CALLS)
      throw new LinuxError('QUEUE_FULL', `${operation}: ${this.#queue.length} calls wait already`);
    const { promise, resolve, reject } = Promise.withResolvers<OperationResult<N>>();
    const onAbort = (): void => {
      this.#leaveQueue(call);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      call.reject(new LinuxError('DEADLINE_EXCEEDED', `${operation}: no answer within ${deadlineMs} ms`));
      this.#passDeadline(call);
    }, deadlineMs);
    const call: Call = {
      request: { operation, args },
      resolve: resolve as (value: unknown) => void,
      reject,
      release: () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      },
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#queue.push(call);
    this.#next();
    return promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#idle);
    const closed = new LinuxError('THREAD_DIED', 'the thread was closed');
    for (const call of [...this.#queue.splice(0), ...(this.#running ? [this.#running] : [])]) {
      call.release();
      call.reject(closed);
    }
    const worker = this.#worker;
    const isIdle = this.#running === undefined;
    this.#worker = this.#running = undefined;
    const ended = worker?.terminate();
    if (isIdle) await ended; // one that sits in a system call ends when the call does
  }

  #next(): void {
    if (this.#running !== undefined || this.#isClosed) return;
    const call = this.#queue.shift();
    if (call === undefined) {
      this.#rest();
      return;
    }
    clearTimeout(this.#idle);
    this.#running = call;
    this.#worker ??= this.#startWorker();
    this.#worker.ref();
    this.#worker.postMessage(call.request);
  }

  #rest(): void {
    const worker = this.#worker;
    worker?.unref();
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#worker = undefined;
      void worker?.terminate();
    }, IDLE_MS).unref();
  }

  #startWorker(): Worker {
    const worker = new Worker(WORKER, { name: 'syscalls' });
    worker.on('message', (answer: WorkerAnswer) => this.#receive(worker, answer));
    worker.on('error', (error) => this.#lose(worker, error));
    worker.on('exit', () => this.#lose(worker, undefined));
    return worker;
  }

  #receive(worker: Worker, answer: WorkerAnswer): void {
    if (this.#stuck.has(worker)) {
      void worker.terminate(); // it is idle: this resolves at once, and `exit` takes it off the list
      return;
    }
    const call = this.#running;
    if (worker !== this.#worker || call === undefined) return;
    this.#running = undefined;
    call.release();
    if (answer.kind === 'result') call.resolve(answer.value);
    else call.reject(toError(call.request.operation, answer));
    this.#next();
  }

  #passDeadline(call: Call): void {
    call.release();
    this.#leaveQueue(call);
    if (call !== this.#running || this.#worker === undefined) return;
    this.#stuck.add(this.#worker);
    this.#worker.unref();
    this.#worker = this.#running = undefined;
    if (this.#stuck.size < MAX_STUCK_THREADS) {
      this.#next();
      return;
    }
    for (const waiting of this.#queue.splice(0)) {
      waiting.release();
      waiting.reject(new LinuxError('THREADS_STUCK', `${waiting.request.operation}: ${this.#stuck.size} earlier calls never came back`));
    }
  }

  #lose(worker: Worker, cause: unknown): void {
    this.#stuck.delete(worker);
    if (worker !== this.#worker) return;
    const call = this.#running;
    this.#worker = this.#running = undefined;
    call?.release();
    call?.reject(new LinuxError('THREAD_DIED', `${call.request.operation}: the thread ended`, { cause }));
    this.#next();
  }

  #leaveQueue(call: Call): void {
    const index = this.#queue.indexOf(call);
    if (index < 0) return;
    this.#queue.splice(index, 1);
    call.release();
  }
}

function toError(operation: string, { message, errno, code }: WorkerAnswer & { kind: 'error' }): LinuxError {
  const text = message.startsWith(operation) ? message : `${operation}: ${message}`;
  return new LinuxError((code as LinuxErrorCode | undefined) ?? errnoName(errno), text);
}
