import { spawn } from 'node:child_process';
import type { FromKeeper, ToKeeper } from './launcher/kept.ts';

/** The process that keeps, from its service's side. */
export interface KeeperPeer {
  readonly pid: number;
  /** A message that it does not get any more is lost without a word: `onGone` tells. */
  readonly send: (message: ToKeeper) => void;
}

export interface PeerEvents {
  readonly onMessage: (message: FromKeeper) => void;
  /** Once; never before this has returned. */
  readonly onGone: () => void;
  readonly onFailed: (error: Error) => void;
}

/** The keeper that started this process. */
export function parentKeeper({ onMessage, onGone }: PeerEvents): KeeperPeer {
  process.on('message', (message) => onMessage(message as FromKeeper));
  if (process.connected) process.once('disconnect', onGone);
  else setImmediate(onGone);
  process.channel?.unref(); // it does not keep a service alive that is done
  return {
    pid: process.ppid,
    send: (message) => {
      if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
    },
  };
}

/** Starts another keeper. */
export function startKeeper(
  command: readonly string[],
  environment: NodeJS.ProcessEnv,
  descriptors: readonly number[],
  { onMessage, onGone, onFailed }: PeerEvents,
): KeeperPeer {
  const [program = process.execPath, ...args] = command;
  const child = spawn(program, args, { env: environment, stdio: ['inherit', 'inherit', 'inherit', ...descriptors, 'ipc'] });
  let isGone = false;
  const lose = (): void => {
    if (!isGone) onGone();
    isGone = true;
  };
  child.on('message', (message) => onMessage(message as FromKeeper));
  child.once('disconnect', lose);
  child.on('error', (error) => {
    if (child.pid !== undefined) return; // a message that did not reach it
    onFailed(error);
    setImmediate(lose);
  });
  child.unref();
  child.channel?.unref();
  return {
    pid: child.pid ?? 0,
    send: (message) => {
      if (child.connected) child.send(message, () => undefined);
    },
  };
}
