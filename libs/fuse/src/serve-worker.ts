import { constants } from 'node:os';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { dropPageCache, errnoName, rawPread, rawRead, rawWrite } from '@soci/linux';
import { Control } from './control.ts';
import { Journal, NO_ENTRY, type OwedRequest, type PlainRequest } from './journal.ts';
import { Responder } from './responder.ts';
import type { Slot } from './slot.ts';

export interface WorkerSetup {
  readonly fd: number;
  readonly index: number;
  readonly controlWords: Int32Array<SharedArrayBuffer>;
  /** Changes of slots, read without an event loop. */
  readonly changes: MessagePort;
  /** Memory of the session, where there is one. */
  readonly journalFd: number | undefined;
  readonly mayResend: boolean;
}

export type SlotChange = { readonly kind: 'add'; readonly slot: Slot } | { readonly kind: 'remove'; readonly slot: number };

export type WorkerReport =
  | { readonly kind: 'ready' }
  | { readonly kind: 'initialised'; readonly hasResend: boolean | undefined }
  | { readonly kind: 'owed'; readonly request: OwedRequest } // a miss, or a slot that is not there yet
  | { readonly kind: 'refused'; readonly errno: string } // the kernel did not take an answer
  | { readonly kind: 'ended'; readonly reason: string };

/** The largest READ there is: the kernel asks for so much only where somebody reads on. */
const SEQUENTIAL_BYTES = 128 << 10;
/** The page cache gives back whole folios only, and those of a file that is read in large pieces reach this size: smaller advice does nothing. */
const DROP_BLOCK_BYTES = 4 << 20;
/** In the last byte of a request's number: the kernel sends it again. */
const LAST_BYTE_OF_UNIQUE = 15;
const IS_RESENT = 0x80;
const { EAGAIN, EINTR, ENODEV, ENOENT } = constants.errno;

if (parentPort !== null) {
  const port = parentPort;
  // The first message says that the mount is there: read(2) of a device that nothing is mounted from fails.
  port.once('message', () => {
    serve(workerData as WorkerSetup, (report) => port.postMessage(report));
    port.close();
  });
  port.postMessage({ kind: 'ready' } satisfies WorkerReport);
}

/** Blocking read, answer, write, until the mount is gone or the main thread says stop. */
function serve({ fd, index, controlWords, changes, journalFd, mayResend }: WorkerSetup, report: (report: WorkerReport) => void): void {
  const control = new Control(0, controlWords);
  const slots = new Map<number, Slot>();
  const journal = journalFd === undefined ? undefined : new Journal(journalFd);
  const owe = (request: PlainRequest): boolean => {
    const isJournaling = journal !== undefined && control.isJournaling;
    const entry = isJournaling ? journal.add(index, request) : NO_ENTRY;
    if (isJournaling && entry === NO_ENTRY) return false; // full: nobody could answer it after a kill
    report({ kind: 'owed', request: { ...request, entry } });
    return true;
  };
  const responder = new Responder({
    slots,
    pread: rawPread,
    ...(journal === undefined ? {} : { buffer: journal.buffer(index) }),
    mayResend,
    onMiss: (_, request) => owe(request),
    onUnknownSlot: (request) => control.isHolding && owe(request),
    onInit: (hasResend) => {
      control.setJournaling(hasResend === false); // before the kernel acts on the answer
      wasInit = { hasResend };
    },
    onServed: (data, offsetBytes, sizeBytes) => {
      if (sizeBytes < SEQUENTIAL_BYTES) return;
      const end = offsetBytes + sizeBytes;
      // The kernel holds what was served for FUSE and for EROFS already. Advice costs by its length, so each block is named once, by the READ that ends it.
      const from = offsetBytes - (offsetBytes % DROP_BLOCK_BYTES);
      const to = end - (end % DROP_BLOCK_BYTES);
      if (to > from) dropPageCache(data, from, to - from);
    },
  });
  let wasInit: { readonly hasResend: boolean | undefined } | undefined;
  let seenEpoch = -1;
  while (!control.isStopping) {
    control.setServing(index, false);
    const got = rawRead(fd, responder.request);
    control.setServing(index, true);
    if (got < 0) {
      if (got === -EINTR || got === -EAGAIN || got === -ENOENT) continue; // ENOENT: the asker was killed meanwhile
      report({ kind: 'ended', reason: got === -ENODEV ? 'unmounted' : errnoName(-got) });
      break;
    }
    if (control.epoch !== seenEpoch) {
      seenEpoch = control.epoch; // before the look, so that a change after it is seen next time
      apply(changes, slots);
      control.setSeen(index, seenEpoch);
    }
    if (((responder.request[LAST_BYTE_OF_UNIQUE] ?? 0) & IS_RESENT) !== 0) control.countResent();
    const lengthBytes = responder.answer(got);
    if (lengthBytes > 0) {
      const put = rawWrite(fd, responder.reply, lengthBytes);
      if (put < 0 && put !== -ENOENT && put !== -ENODEV) report({ kind: 'refused', errno: errnoName(-put) });
    }
    journal?.clearBuffer(index);
    if (wasInit !== undefined) {
      report({ kind: 'initialised', ...wasInit }); // the kernel acted on it in write(2)
      wasInit = undefined;
    }
  }
  control.setServing(index, false);
  changes.close();
}

function apply(changes: MessagePort, slots: Map<number, Slot>): void {
  for (let next = receiveMessageOnPort(changes); next !== undefined; next = receiveMessageOnPort(changes)) {
    const change = next.message as SlotChange;
    if (change.kind === 'add') slots.set(change.slot.slot, change.slot);
    else slots.delete(change.slot);
  }
}
