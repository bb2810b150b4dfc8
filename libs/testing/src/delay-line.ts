import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export interface DelayLineOptions {
  readonly targetHost: string;
  readonly targetPort: number;
  /** Added each way, in milliseconds. */
  readonly oneWayMs: number;
  /** Of all answers together, in bits per second. */
  readonly bitsPerSecond: number;
}

/** Bytes under way in one direction of one connection before its sender is paused. */
const MAX_IN_FLIGHT_BYTES = 16 << 20;

/** A TCP proxy on loopback that behaves like a long line: a fixed delay each way, and one rate that all answers share. It has no slow start. */
export class DelayLine implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #options: DelayLineOptions;
  #lineFreeAt = 0;
  #answeredBytes = 0;

  private constructor(options: DelayLineOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#serve(client));
  }

  static async start(options: DelayLineOptions): Promise<DelayLine> {
    const line = new DelayLine(options);
    line.#server.listen(0, '127.0.0.1');
    await once(line.#server, 'listening');
    return line;
  }

  /** `127.0.0.1:PORT` */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Bytes that the far side has sent so far. */
  get answeredBytes(): number {
    return this.#answeredBytes;
  }

  #serve(client: Socket): void {
    const { targetHost, targetPort } = this.#options;
    const target = connect({ host: targetHost, port: targetPort, allowHalfOpen: true, noDelay: true });
    for (const socket of [client, target]) {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    }
    this.#carry(client, target, false);
    this.#carry(target, client, true);
  }

  #carry(from: Socket, to: Socket, isAnswer: boolean): void {
    const { oneWayMs, bitsPerSecond } = this.#options;
    const queue: { readonly at: number; readonly chunk: Buffer | undefined }[] = [];
    let inFlightBytes = 0;
    let timer: NodeJS.Timeout | undefined;
    const pump = (): void => {
      timer = undefined;
      for (let head = queue[0]; head !== undefined && head.at <= performance.now(); head = queue[0]) {
        queue.shift();
        if (head.chunk === undefined) to.end();
        else {
          inFlightBytes -= head.chunk.length;
          to.write(head.chunk);
        }
      }
      if (from.isPaused() && inFlightBytes < MAX_IN_FLIGHT_BYTES / 2) from.resume();
      if (queue[0] !== undefined) timer = setTimeout(pump, Math.max(0, queue[0].at - performance.now()));
    };
    const push = (chunk: Buffer | undefined): void => {
      let sentAt = performance.now();
      if (chunk !== undefined && isAnswer) {
        this.#answeredBytes += chunk.length;
        this.#lineFreeAt = Math.max(this.#lineFreeAt, sentAt) + (chunk.length * 8_000) / bitsPerSecond;
        sentAt = this.#lineFreeAt;
      }
      queue.push({ at: sentAt + oneWayMs, chunk });
      inFlightBytes += chunk?.length ?? 0;
      if (inFlightBytes > MAX_IN_FLIGHT_BYTES) from.pause();
      timer ??= setTimeout(pump, Math.max(0, (queue[0]?.at ?? 0) - performance.now()));
    };
    from.on('data', push);
    from.on('end', () => push(undefined));
    from.on('error', () => to.destroy());
    from.on('close', () => {
      if (from.errored) to.destroy();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, 'close').catch(() => undefined);
  }
}
