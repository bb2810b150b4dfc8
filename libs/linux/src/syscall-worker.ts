import { parentPort } from 'node:worker_threads';
import { LinuxError } from './linux-error.ts';
import { OPERATIONS, type OperationName } from './operations.ts';

export interface WorkerCall {
  readonly operation: OperationName;
  readonly args: readonly unknown[];
}

/** An error does not keep its class or its fields on the way between threads. */
export type WorkerAnswer =
  | { readonly kind: 'result'; readonly value: unknown }
  | { readonly kind: 'error'; readonly message: string; readonly errno: number; readonly code: string | undefined };

parentPort?.on('message', ({ operation, args }: WorkerCall) => {
  parentPort?.postMessage(answer(operation, args));
});

function answer(operation: OperationName, args: readonly unknown[]): WorkerAnswer {
  try {
    return { kind: 'result', value: Reflect.apply(OPERATIONS[operation], undefined, args) };
  } catch (error) {
    const { message } = error instanceof Error ? error : new Error(String(error));
    return { kind: 'error', message, errno: errnoOf(error), code: error instanceof LinuxError ? error.code : undefined };
  }
}

function errnoOf(error: unknown): number {
  if (error instanceof LinuxError) return error.errno;
  return error instanceof Error && 'errno' in error && typeof error.errno === 'number' ? Math.abs(error.errno) : 0;
}
