import { writeSync } from 'node:fs';
import { KEPT_VARIABLE, Kept, layOut, parseKept, type KeptNumbers, type ToKeeper } from './kept.ts';
import { ERROR_VARIABLE, FD_VARIABLE, type KeepOptions } from './device.ts';
import { RestartDelay } from './restart-delay.ts';
import { adoptService, nowMs, type ServiceEnd, startService, type Supervised } from './supervised.ts';

// Built-ins alone, and few of those: this process lives as long as the node's containers, and every module in it stays in memory.
// `AbortController`, `performance` and the streams of `process` are some megabytes.

const DEVICE = '/dev/fuse';
const FORWARDED_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1'] as const;
/** Starts the service anew, e.g. from the files of a new version: its readers wait for a moment, as after any end. */
const RESTART_SIGNAL = 'SIGUSR2';

/**
 * Holds what the containers of a node stand on while services come and go: the FUSE device, and the memory that a service has it hold. A service that
 * ends is started again with them; one that never came to serve and ends with a status other than 0 is not, that is its answer. Whoever stops this
 * process by a signal stops the service, and this ends as the service does.
 *
 * A service whose keeper is gone starts another one, which finds in its environment what the service has; it goes on from there.
 * Sockets that systemd handed to this process are handed on at the same numbers, what it had in its store is told apart by its names.
 *
 * @see https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
 */
export async function keep(options: KeepOptions): Promise<void> {
  process.title = options.title;
  const told = parseKept(process.env);
  const adopts = told?.adopted === undefined ? undefined : told; // also of a service that has ended since: what it had is here
  const keeper = new Keeper(options, Kept.inherit(process.env, options.device ?? DEVICE, adopts), adopts);
  const { code, signal } = await keeper.run();
  if (process.connected) process.disconnect();
  if (signal === null) process.exitCode = code ?? 0;
  else process.kill(process.pid, signal);
}

class Keeper {
  readonly #options: KeepOptions;
  readonly #kept: Kept;
  readonly #delay = new RestartDelay();
  readonly #forwarded = new Set<NodeJS.Signals>();
  #isStopped = false;
  #endPause: () => void = () => undefined;
  #service: Supervised;
  #restarts: number;
  #lastEnd: string;
  #isReady: boolean;
  #wasEverReady: boolean;

  constructor(options: KeepOptions, kept: Kept, adopts: KeptNumbers | undefined) {
    this.#options = options;
    this.#kept = kept;
    this.#restarts = adopts?.restarts ?? 0;
    this.#lastEnd = adopts?.lastEnd ?? '';
    this.#isReady = this.#wasEverReady = adopts !== undefined;
    const pid = adopts?.adopted;
    this.#service = pid === undefined ? this.#start() : adoptService(pid, (message) => this.#receive(pid, message));
  }

  async run(): Promise<ServiceEnd> {
    const forward = (signal: NodeJS.Signals): void => {
      this.#forwarded.add(signal);
      if (signal === 'SIGTERM' || signal === 'SIGINT') {
        this.#isStopped = true;
        this.#endPause();
      }
      this.#service.kill(signal);
    };
    const restart = (): void => this.#service.kill('SIGKILL');
    for (const signal of FORWARDED_SIGNALS) process.on(signal, forward);
    process.on(RESTART_SIGNAL, restart);
    this.#service.send({ kind: 'here' });
    try {
      return await this.#supervise();
    } finally {
      for (const signal of FORWARDED_SIGNALS) process.off(signal, forward);
      process.off(RESTART_SIGNAL, restart);
    }
  }

  async #supervise(): Promise<ServiceEnd> {
    for (;;) {
      const end = await this.#service.ended;
      if (this.#isLast(end)) return end;
      const delayMs = this.#delay.next(nowMs() - this.#service.startedAt, this.#isReady);
      tell({ code: end.code, signal: end.signal, restarts: this.#restarts + 1, delayMs });
      await this.#pause(delayMs);
      if (this.#isStopped) return { code: 0, signal: null };
      this.#restarts++;
      this.#lastEnd = end.signal ?? `status ${end.code}`;
      this.#service = this.#start();
    }
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#endPause = (): void => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #isLast({ code, signal }: ServiceEnd): boolean {
    if (this.#isStopped) return true;
    if (signal !== null) return this.#forwarded.has(signal);
    return code === 0 || (code !== null && !this.#wasEverReady);
  }

  #start(): Supervised {
    this.#isReady = false;
    const { main, args, nodeArguments = [] } = this.#options;
    const device = this.#kept.device();
    const { descriptors, deviceAt, memoryAt } = layOut(this.#kept.sockets, device.fd, this.#kept.memory);
    const kept: KeptNumbers = {
      keeper: [process.execPath, ...process.execArgv, process.argv[1] ?? '', ...process.argv.slice(2)],
      restarts: this.#restarts,
      lastEnd: this.#lastEnd,
      sockets: this.#kept.sockets.length,
      memory: memoryAt,
    };
    const environment: NodeJS.ProcessEnv = {
      ...process.env,
      LISTEN_PID: undefined, // no process knows its child's number beforehand
      LISTEN_FDS: kept.sockets > 0 ? String(kept.sockets) : undefined,
      LISTEN_FDNAMES: kept.sockets > 0 ? this.#kept.socketNames : undefined,
      [KEPT_VARIABLE]: JSON.stringify(kept),
      [FD_VARIABLE]: deviceAt === undefined ? undefined : String(deviceAt),
      [ERROR_VARIABLE]: device.fd === undefined ? device.error : undefined,
    };
    const command = [process.execPath, ...nodeArguments, main, ...args];
    const service: Supervised = startService(command, environment, descriptors, (message) => this.#receive(service.pid, message));
    return service;
  }

  #receive(pid: number, message: ToKeeper): void {
    switch (message.kind) {
      case 'ready':
        this.#isReady = this.#wasEverReady = true;
        return;
      case 'renew-device':
        this.#kept.renewDevice();
        return;
      case 'drop':
        this.#kept.drop(message.name);
        return;
      case 'hold': {
        const error = this.#hold(pid, message.name, message.fd);
        this.#service.send({ kind: 'held', name: message.name, ...(error === undefined ? {} : { error }) });
      }
    }
  }

  #hold(pid: number, name: string, fd: number): string | undefined {
    try {
      this.#kept.hold(pid, name, fd);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}

/** One line for each restart, in the form of the service's log. */
function tell(facts: Readonly<Record<string, unknown>>): void {
  const line = { level: 'warning', time: new Date().toISOString(), ...facts, msg: 'service ended by accident, is started again' };
  writeSync(2, `${JSON.stringify(line)}\n`);
}
