import { fstatSync, mkdirSync, openSync, readlinkSync, readSync, writeFileSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { join } from 'node:path';
import { exitNow } from '@soci/linux';
import { createLogger } from '@soci/log';
import { FlatFuse, FuseState, KeeperLink, type Miss } from '../index.ts';
import { inheritedFuse } from '../launcher/device.ts';

/**
 * The smallest service that survives: one layer, half of it on disk, the other half "fetched" in some milliseconds and never kept.
 * Run by tests of the keeper as `kept-service.ts <directory> <how>`; the directory has the files `data` and `names`.
 */
const SPAN_BYTES = 1 << 20;
const FETCH_MS = 5;
const SLOT = 1;

const [directory = '', how = ''] = process.argv.slice(2);
const log = createLogger({ level: 'info' });
const fuse = inheritedFuse(process.env);
if (fuse.kind === 'none') throw new Error(fuse.reason);
const link = KeeperLink.connect({ environment: process.env, log });
const state = await FuseState.open(link);
const data = openSync(join(directory, 'data'), 'r+');
const names = openSync(join(directory, 'names'), 'r');
const sizeBytes = fstatSync(data).size;
const spans = sizeBytes / SPAN_BYTES;
const mountPoint = join(directory, 'mount');
// A mount that goes on is not touched before it is served: whoever asks it anything waits for us.
if (state.sessionAt(mountPoint) === undefined) mkdirSync(mountPoint);

const fetch = ({ uniqueLow, uniqueHigh, offsetBytes, sizeBytes: wanted }: Miss): void => {
  setTimeout(() => {
    const bytes = Buffer.alloc(wanted);
    readSync(data, bytes, 0, wanted, offsetBytes);
    flat.reply(uniqueLow, uniqueHigh, bytes);
  }, FETCH_MS);
};
const spanStartBytes = new Float64Array(new SharedArrayBuffer((spans + 1) * 8));
for (let span = 0; span <= spans; span++) spanStartBytes[span] = span * SPAN_BYTES;
const flat: FlatFuse = await FlatFuse.serve({ fd: fuse.fd, mountPoint, state, mayResend: how !== 'journal', log, onMiss: fetch });
flat.addSlot({
  slot: SLOT,
  namesFd: names,
  namesSizeBytes: fstatSync(names).size,
  bytesFd: data,
  bytesSizeBytes: sizeBytes,
  dataSizeBytes: sizeBytes,
  spanStartBytes,
  present: new Int32Array(new SharedArrayBuffer(Math.ceil(spans / 32) * 4)).fill(0x55555555),
});
flat.settle();
link?.ready();
flushCompileCache(); // now: nobody who is killed does it at the end

/** Who is who, for those who kill. */
const report = (): void => {
  const facts = {
    sockets: process.env['LISTEN_FDS'] === undefined ? '' : `${readlinkSync('/proc/self/fd/3')} ${process.env['LISTEN_FDNAMES']}`,
    service: process.pid,
    keeper: link?.isKept ? link.keeperPid : 0,
    restarts: link?.restarts,
    lastEnd: link?.lastEnd,
    resumedRequests: flat.resumedRequests,
    isResumed: flat.isResumed,
    hasResend: flat.hasResend,
  };
  writeFileSync(join(directory, `state.${process.pid}.json`), JSON.stringify(facts));
};
setInterval(report, 10);
report();

process.once('SIGTERM', () => {
  const stop = link?.outlivesStop ? flat.detach() : flat[Symbol.asyncDispose]();
  link?.[Symbol.dispose]();
  void stop.finally(() => exitNow(0));
});
