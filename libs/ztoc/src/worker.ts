import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { describeError } from '@soci/errors';
import { selectEngine } from '@soci/zlib';
import type { FromThread, ToThread } from './build-protocol.ts';
import { LayerScanner } from './layer-scanner.ts';
import { ZtocError } from './ztoc-error.ts';

/** The thread that reads layers for `ZtocBuilder`, one at a time. */

type Build = Extract<ToThread, { kind: 'build' }>;

interface Layer {
  readonly build: Build;
  readonly scanner: LayerScanner;
}

const port = parentPort;
if (!port) throw new Error('this file is the entry of a worker thread');

/** The layer that comes in pieces; undefined when there is none, or it failed already and its last pieces only pass by. */
let layer: Layer | undefined;

port.on('message', (message: ToThread) => {
  switch (message.kind) {
    case 'build':
      start(message);
      break;
    case 'piece':
      if (layer) guarded(() => takePiece(new Uint8Array(message.buffer, 0, message.length)));
      send({ kind: 'taken', buffer: message.buffer }, [message.buffer]);
      break;
    case 'end':
      if (layer) guarded(() => (message.whole ? finish() : giveUp()));
      break;
    case 'stop':
      close();
      port.close();
      break;
  }
});

function start(build: Build): void {
  guarded(() => {
    const { algorithm, spanSize, path } = build;
    layer = { build, scanner: new LayerScanner({ algorithm, spanSize, engine: selectEngine }) };
    if (path === undefined) return;
    readFile(path);
    finish();
  });
}

/** Reads by position, straight into the scanner's buffer. */
function readFile(path: string): void {
  const { scanner, build } = current();
  const file = openSync(path, 'r');
  try {
    for (;;) {
      if (build.shared.cancelled[0] !== 0) giveUp();
      const length = readSync(file, scanner.input, 0, scanner.input.length, scanner.bytesRead);
      if (length === 0) return;
      scanner.push(length);
      reportProgress();
    }
  } finally {
    closeSync(file);
  }
}

function takePiece(piece: Uint8Array): void {
  const { scanner } = current();
  for (let at = 0; at < piece.length; at += scanner.input.length) {
    const part = piece.subarray(at, at + scanner.input.length);
    scanner.input.set(part);
    scanner.push(part.length);
  }
  reportProgress();
}

function finish(): void {
  const { scanner, build } = current();
  const result = scanner.finish(build.buildTool);
  close();
  send({ kind: 'built', result }, [result.bytes.buffer as ArrayBuffer]);
}

function giveUp(): never {
  throw new ZtocError('READ_FAILED', 'layer given up');
}

function reportProgress(): void {
  const { build, scanner } = current();
  build.shared.bytesRead[0] = scanner.bytesRead;
}

function current(): Layer {
  if (!layer) throw new ZtocError('READ_FAILED', 'no layer is being read');
  return layer;
}

/** Whatever goes wrong with a layer is told once, and ends it. */
function guarded(work: () => void): void {
  try {
    work();
  } catch (error) {
    close();
    const code = error instanceof ZtocError ? error.code : 'READ_FAILED';
    send({ kind: 'failed', code, message: describeError(error) });
  }
}

function close(): void {
  layer?.scanner[Symbol.dispose]();
  layer = undefined;
}

function send(message: FromThread, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}
