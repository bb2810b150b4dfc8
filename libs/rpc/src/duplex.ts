import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import type { DuplexCall } from '@soci/proto';
import { fromStatus } from './status.ts';

/** A bidirectional call as two awaitable directions. */
export function duplex<Request, Response>(call: ClientDuplexStream<Request, Response>, signal: AbortSignal): DuplexCall<Request, Response> {
  const answers = call[Symbol.asyncIterator]() as AsyncIterator<Response>;
  const cancel = (): void => call.cancel();
  signal.addEventListener('abort', cancel);
  // The server may end the call while something is being sent: then the write may never be answered, and its status is the reason.
  let failure: Error | undefined;
  let settleSend = (): void => undefined;
  call.on('error', (error: ServiceError) => {
    failure = error;
    settleSend();
  });
  call.on('status', () => settleSend());
  const reasonOf = (error: unknown): Error => (signal.aborted ? (signal.reason as Error) : fromStatus(error as ServiceError));

  return {
    async send(request) {
      if (failure === undefined) {
        await new Promise<void>((resolve) => {
          settleSend = resolve;
          call.write(request, () => resolve());
        });
      }
      if (failure !== undefined) throw reasonOf(failure);
    },
    async receive() {
      try {
        const next = await answers.next();
        return next.done === true ? undefined : next.value;
      } catch (error) {
        throw reasonOf(error);
      }
    },
    end() {
      call.end();
    },
    [Symbol.dispose]() {
      signal.removeEventListener('abort', cancel);
      call.cancel();
    },
  };
}
