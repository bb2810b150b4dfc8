import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A TCP relay before an API server, which can be away, silent, or cut what goes through it. */
export class Relay implements AsyncDisposable {
  readonly #targetPort: number;
  readonly #sockets = new Set<Socket>();
  readonly #held: (() => void)[] = [];
  #server: Server | undefined;
  #isHolding = false;
  port = 0;

  private constructor(targetPort: number) {
    this.#targetPort = targetPort;
  }

  static async start(targetUrl: string): Promise<Relay> {
    const relay = new Relay(Number(new URL(targetUrl).port));
    await relay.comeBack();
    return relay;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  /** Connections are refused, those there are end. */
  async goAway(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    server?.close();
    this.cut();
    if (server !== undefined) await once(server, 'close');
  }

  async comeBack(): Promise<void> {
    const server = createServer((client) => this.#serve(client)).listen(this.port, '127.0.0.1');
    await once(server, 'listening');
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  /** Ends the connections there are. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Connections there are carry nothing more, new ones wait until `release`. */
  hold(): void {
    this.#isHolding = true;
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  release(): void {
    this.#isHolding = false;
    for (const forward of this.#held.splice(0)) forward();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.goAway();
  }

  #serve(client: Socket): void {
    this.#sockets.add(client);
    client.on('error', () => undefined).on('close', () => this.#sockets.delete(client));
    const forward = (): void => {
      if (client.destroyed) return;
      const target = connect(this.#targetPort, '127.0.0.1');
      this.#sockets.add(target);
      target
        .on('error', () => undefined)
        .on('close', () => {
          this.#sockets.delete(target);
          if (!this.#isHolding) client.destroy();
        });
      client.on('close', () => target.destroy());
      client.pipe(target).pipe(client);
    };
    if (this.#isHolding) this.#held.push(forward);
    else forward();
  }
}
