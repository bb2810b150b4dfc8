import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import { MAX_READ_BYTES, OPCODE } from './protocol.ts';
import { type Miss, Responder } from './responder.ts';
import { nodeId, type Slot } from './slot.ts';

const { EIO, EINVAL, ENOENT, ENOSYS, EPROTO } = constants.errno;
const NAMES_FD = 100;
const BYTES_FD = 101;

function makeSlot(slot: number, spans: readonly number[], present: number): Slot {
  const dataSizeBytes = spans.at(-1) ?? 0;
  return {
    slot,
    namesFd: NAMES_FD,
    namesSizeBytes: 1024,
    bytesFd: BYTES_FD,
    bytesSizeBytes: Math.ceil(dataSizeBytes / 512) * 512,
    dataSizeBytes,
    spanStartBytes: Float64Array.from(spans),
    present: Int32Array.of(present),
  };
}

/** A responder over two pretended files: every byte of the data file is 0xda, and it ends where `bytesOnDisk` says. */
function makeResponder(slot: Slot, bytesOnDisk = slot.dataSizeBytes) {
  const misses: Miss[] = [];
  const inits: (boolean | undefined)[] = [];
  const responder = new Responder({
    slots: new Map([[slot.slot, slot]]),
    pread: (fd, into, sizeBytes, offsetBytes) => {
      const got = Math.max(0, Math.min(sizeBytes, (fd === NAMES_FD ? slot.namesSizeBytes : bytesOnDisk) - offsetBytes));
      into.fill(fd === NAMES_FD ? 0xaa : 0xda, 0, got);
      return got;
    },
    onMiss: (miss) => misses.push(miss) > 0,
    onInit: (hasResend) => inits.push(hasResend),
  });
  responder.reply.fill(0xee); // what an earlier answer left there
  const ask = (opcode: number, node: number, body: Buffer = Buffer.alloc(0), nodeHigh = 0): { errno: number; body: Buffer } | undefined => {
    const { request } = responder;
    request.fill(0);
    const lengthBytes = 40 + body.length;
    for (const [at, word] of [lengthBytes, opcode, 7, 0x80000000, node, nodeHigh].entries()) request.writeUInt32LE(word, at * 4);
    body.copy(request, 40);
    const replied = responder.answer(lengthBytes);
    if (replied === 0) return undefined;
    const reply = Buffer.from(responder.reply.subarray(0, replied));
    assert.equal(reply.readUInt32LE(0), replied);
    assert.deepEqual([reply.readUInt32LE(8), reply.readUInt32LE(12)], [7, 0x80000000]);
    return { errno: Math.abs(reply.readInt32LE(4)), body: reply.subarray(16) };
  };
  const read = (node: number, offsetBytes: number, sizeBytes: number) => {
    const body = Buffer.alloc(40);
    body.writeBigUInt64LE(BigInt(offsetBytes), 8);
    body.writeUInt32LE(sizeBytes, 16);
    return ask(OPCODE.read, node, body);
  };
  return { ask, read, misses, inits, responder };
}

const init = (major: number, minor: number, flags: number, flags2: number): Buffer => {
  const body = Buffer.alloc(64);
  for (const [at, word] of [major, minor, 131_072, flags, flags2].entries()) body.writeUInt32LE(word >>> 0, at * 4);
  return body;
};

describe('Responder', () => {
  const bytes = nodeId(3, 'bytes');

  it('answers a read of spans that are there, and hands on one that touches any other', () => {
    const { read, misses } = makeResponder(makeSlot(3, [0, 1000, 2000, 3000], 0b101));
    assert.deepEqual(read(bytes, 0, 1000)?.body, Buffer.alloc(1000, 0xda));
    assert.deepEqual(read(bytes, 2000, 1000)?.body, Buffer.alloc(1000, 0xda));
    assert.equal(read(bytes, 999, 2), undefined);
    assert.equal(read(bytes, 1999, 1), undefined);
    assert.deepEqual(misses, [
      { slot: 3, uniqueLow: 7, uniqueHigh: 0x80000000, offsetBytes: 999, sizeBytes: 2 },
      { slot: 3, uniqueLow: 7, uniqueHigh: 0x80000000, offsetBytes: 1999, sizeBytes: 1 },
    ]);
  });

  it('fills with zeros past the data, up to the rounded end and no further', () => {
    const { read, misses } = makeResponder(makeSlot(3, [0, 600], 0b1));
    assert.deepEqual(read(bytes, 512, 4096)?.body, Buffer.concat([Buffer.alloc(88, 0xda), Buffer.alloc(424)]));
    assert.deepEqual(read(bytes, 600, 8)?.body, Buffer.alloc(8));
    assert.deepEqual(read(bytes, 1024, 4096)?.body, Buffer.alloc(0));
    assert.deepEqual(misses, []);
  });

  it('counts the zeros into what a miss wants', () => {
    const { read, misses } = makeResponder(makeSlot(3, [0, 600], 0));
    read(bytes, 512, 4096);
    assert.equal(misses[0]?.sizeBytes, 512);
  });

  it('answers EIO instead of a short read when the data file is cut', () => {
    const { read } = makeResponder(makeSlot(3, [0, 1000], 0b1), 999);
    assert.equal(read(bytes, 0, 1000)?.errno, EIO);
    assert.equal(read(bytes, 0, 999)?.errno, 0);
  });

  it('reads offsets past 4 GiB', () => {
    const { read, misses } = makeResponder(makeSlot(3, [0, 2 ** 33, 2 ** 33 + 1024], 0b01));
    assert.equal(read(bytes, 2 ** 33 - 512, 512)?.body.length, 512);
    assert.equal(read(bytes, 2 ** 33, 512), undefined);
    assert.equal(misses[0]?.offsetBytes, 2 ** 33);
  });

  it('looks names up exactly, and only in the root', () => {
    const { ask } = makeResponder(makeSlot(3, [0, 600], 0));
    const found = ask(OPCODE.lookup, 1, Buffer.from('3.bytes\0'));
    assert.equal(found?.body.readBigUInt64LE(0), BigInt(bytes));
    assert.equal(found.body.readBigUInt64LE(40 + 8), 1024n);
    assert.equal(found.body.length, 128);
    for (const name of ['03.bytes', '3.byte', '3.bytes.', '4.bytes', '0.names', '3.BYTES', '', '99999999999.names', '..', '3.bytes\n']) {
      assert.equal(ask(OPCODE.lookup, 1, Buffer.from(`${name}\0`))?.errno, ENOENT, name);
    }
    assert.equal(ask(OPCODE.lookup, bytes, Buffer.from('3.bytes\0'))?.errno, ENOENT);
  });

  it('tells attributes, and knows no node with a second word', () => {
    const { ask } = makeResponder(makeSlot(3, [0, 600], 0));
    assert.equal(ask(OPCODE.getattr, 1)?.body.readUInt32LE(16 + 60), 0o040500);
    assert.equal(ask(OPCODE.getattr, nodeId(3, 'names'))?.body.readBigUInt64LE(16 + 8), 1024n);
    assert.equal(ask(OPCODE.getattr, bytes, undefined, 1)?.errno, ENOENT);
    assert.equal(ask(OPCODE.getattr, nodeId(4, 'bytes'))?.errno, ENOENT);
  });

  it('refuses a read of a slot that is gone, and one that is too long', () => {
    const { read } = makeResponder(makeSlot(3, [0, 600], 0b1));
    assert.equal(read(nodeId(4, 'bytes'), 0, 10)?.errno, EIO);
    assert.equal(read(bytes, 0, MAX_READ_BYTES + 1)?.errno, EINVAL);
  });

  it('says nothing to what wants no answer, ENOSYS to what it does not do', () => {
    const { ask, responder } = makeResponder(makeSlot(3, [0, 600], 0b1));
    for (const opcode of [OPCODE.forget, OPCODE.batchForget, OPCODE.interrupt]) assert.equal(ask(opcode, bytes), undefined);
    for (const opcode of [14, 22, 23, 25, 27, 34, 39, 46, 52, 9999]) assert.equal(ask(opcode, bytes)?.errno, ENOSYS);
    assert.equal(responder.answer(39), 0);
  });

  it('begins a session with the bounds of the contract', () => {
    const { ask, inits } = makeResponder(makeSlot(3, [0, 600], 0));
    const reply = ask(OPCODE.init, 0, init(7, 45, 0xffffffff, 0xffffffff))?.body;
    assert.equal(reply?.length, 64);
    assert.deepEqual([reply.readUInt16LE(16), reply.readUInt16LE(18), reply.readUInt16LE(28)], [65_535, 65_535, 32]);
    const flags = reply.readUInt32LE(12);
    assert.deepEqual(
      [0, 15, 17, 18, 22, 25, 30].map((bit) => (flags >>> bit) & 1),
      [1, 0, 1, 1, 1, 1, 1],
    );
    assert.equal(reply.readUInt32LE(32), 1 << 7);
    assert.equal(ask(OPCODE.init, 0, init(7, 45, 0xffffffff, 0))?.body.readUInt32LE(32), 0);
    assert.deepEqual(inits, [true, false]);
  });

  it('refuses a kernel of another protocol', () => {
    const { ask, inits } = makeResponder(makeSlot(3, [0, 600], 0));
    for (const [major, minor] of [
      [6, 45],
      [8, 0],
      [7, 31],
    ] as const) {
      assert.equal(ask(OPCODE.init, 0, init(major, minor, 0, 0))?.errno, EPROTO);
    }
    assert.deepEqual(inits, [undefined, undefined, undefined]);
  });
});
