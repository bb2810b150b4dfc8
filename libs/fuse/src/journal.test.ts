import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { createMemory } from '@soci/linux';
import { Journal, JOURNAL_BYTES, NO_ENTRY, type OwedRequest, type PlainRequest } from './journal.ts';
import { SESSION_BYTES } from './launcher/session.ts';
import { OPCODE } from './protocol.ts';
import { parseRequest } from './responder.ts';

function request(uniqueLow: number, more: Partial<PlainRequest> = {}): PlainRequest {
  return { opcode: OPCODE.read, uniqueLow, uniqueHigh: 0x80000000, node: 3, offsetBytes: 2 ** 33 + 4096, sizeBytes: 131_072, ...more };
}

/** The journal, and what the next process finds in it. */
function openJournal(t: TestContext) {
  const fd = createMemory('test', SESSION_BYTES + JOURNAL_BYTES);
  t.after(() => closeSync(fd));
  return { journal: new Journal(fd), next: () => new Journal(fd).takeOver(parseRequest) };
}

function withoutEntry(owed: OwedRequest): PlainRequest {
  const { opcode, uniqueLow, uniqueHigh, node, offsetBytes, sizeBytes } = owed;
  return { opcode, uniqueLow, uniqueHigh, node, offsetBytes, sizeBytes };
}

/** A request as the kernel writes it. */
function put(buffer: Buffer, { opcode, uniqueLow, uniqueHigh, node, offsetBytes, sizeBytes }: PlainRequest, name = ''): void {
  const lengthBytes = opcode === OPCODE.read ? 80 : 41 + name.length;
  buffer.fill(0, 0, lengthBytes);
  for (const [at, word] of [lengthBytes, opcode, uniqueLow, uniqueHigh, node].entries()) buffer.writeUInt32LE(word, at * 4);
  if (opcode !== OPCODE.read) buffer.write(name, 40, 'latin1');
  else {
    buffer.writeBigUInt64LE(BigInt(offsetBytes), 48);
    buffer.writeUInt32LE(sizeBytes, 56);
  }
}

describe('Journal', () => {
  it('has what was entered and not answered', (t) => {
    const { journal, next } = openJournal(t);
    const entries = [1, 2, 3].map((unique) => journal.add(0, request(unique)));
    journal.add(1, request(4));
    journal.remove(entries[1] ?? NO_ENTRY);
    assert.deepEqual(next().map(withoutEntry), [request(1), request(3), request(4)]);
    journal.clear();
    assert.deepEqual(next(), []);
  });

  it('has what was read and not entered yet', (t) => {
    const { journal, next } = openJournal(t);
    put(journal.buffer(0), request(7));
    put(journal.buffer(1), request(8, { opcode: OPCODE.lookup, node: 1 }), '12.bytes');
    const want = [request(7), request(8, { opcode: OPCODE.lookup, node: 25, offsetBytes: 0, sizeBytes: 0 })];
    for (let processes = 0; processes < 2; processes++) {
      assert.deepEqual(next().map(withoutEntry), want); // also after a process that took it over and was killed itself
    }
  });

  it('has nothing of a request that was answered, or wants no answer, or is none', (t) => {
    const { journal, next } = openJournal(t);
    put(journal.buffer(0), request(7));
    journal.clearBuffer(0);
    put(journal.buffer(1), request(8, { opcode: OPCODE.forget }));
    assert.deepEqual(next(), []);
    journal.buffer(0).writeUInt32LE(0xffffffff, 0);
    assert.deepEqual(next(), []);
  });

  it('takes no more than it has room for, and uses again what is free', (t) => {
    const { journal, next } = openJournal(t);
    const entries: number[] = [];
    for (let entry = journal.add(1, request(1)); entry !== NO_ENTRY; entry = journal.add(1, request(1))) entries.push(entry);
    assert.equal(entries.length, 65_536);
    assert.equal(new Set(entries).size, entries.length);
    for (const index of [70, 3, 500]) journal.remove(entries[index] ?? NO_ENTRY);
    assert.deepEqual(
      [1, 2, 3, 4].map(() => journal.add(1, request(2))),
      [entries[3], entries[70], entries[500], NO_ENTRY],
    );
    assert.equal(next().length, 65_536);
  });
});
