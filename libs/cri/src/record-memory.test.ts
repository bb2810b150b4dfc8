import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BLOCK_BYTES, HEAD, HEADER, MAX_BODY_BYTES, RECORD_KIND, type KeptRecord } from './record-layout.ts';
import { RecordMemory } from './record-memory.ts';
import { randomFrom, TornMemory } from './testing/torn-memory.ts';

const { entry, secret } = RECORD_KIND;

function bodies(memory: TornMemory): string[] {
  return RecordMemory.open(memory)?.found.map(({ body }) => body.toString()) ?? ['not ours'];
}

describe('RecordMemory', () => {
  it('gives back what was written, of any length, with its numbers', () => {
    const memory = new TornMemory(1 << 20);
    const records = RecordMemory.create(memory);
    const lengths = [0, 1, 183, 184, 185, 432, 433, 5_000, MAX_BODY_BYTES];
    const written = lengths.map((length) => records.add(secret, Buffer.alloc(length, length % 251), [length, 2]));
    const opened = RecordMemory.open(memory);
    assert.deepEqual(
      opened?.found.map(({ record, body, words }) => ({ record, body, words })),
      lengths.map((length, index) => ({ record: written[index], body: Buffer.alloc(length, length % 251), words: [length, 2, 0, 0] })),
    );
    assert.equal(records.add(secret, Buffer.alloc(MAX_BODY_BYTES + 1), []), undefined);
    assert.equal(opened.records.generation, 2);
  });

  it('overwrites what is removed at once, and uses its place again', () => {
    const memory = new TornMemory(40 * BLOCK_BYTES);
    const records = RecordMemory.create(memory);
    for (let round = 0; round < 50; round++) {
      const written = [1_000, 3_000, 2_000].map((length) => records.add(secret, Buffer.alloc(length, 0x53), []));
      for (const record of written) {
        assert.ok(record);
        records.remove(record);
      }
      assert.ok(!memory.bytes.includes('SSS'), `round ${round}`);
    }
  });

  it('says when there is no room, and takes what fits in whatever places are free', () => {
    const memory = new TornMemory(21 * BLOCK_BYTES);
    const records = RecordMemory.create(memory);
    const written = Array.from({ length: 20 }, (_, index) => records.add(entry, Buffer.from(`record ${index}`), []));
    assert.equal(records.add(entry, Buffer.from('one more'), []), undefined);
    for (const record of written.filter((_, index) => index % 2 === 0)) if (record !== undefined) records.remove(record);
    assert.ok(records.add(secret, Buffer.alloc(184 + 9 * 248, 0x41), []));
    assert.equal(records.add(entry, Buffer.from('one more'), []), undefined);
    assert.equal(bodies(memory).length, 11);
  });

  it('goes on after it was opened: free places, versions, changed numbers', () => {
    const memory = new TornMemory(1 << 16);
    const first = RecordMemory.create(memory);
    const gone = first.add(entry, Buffer.from('gone'), []) as KeptRecord;
    const kept = first.add(entry, Buffer.from('kept'), [1]) as KeptRecord;
    first.remove(gone);
    const second = RecordMemory.open(memory)?.records;
    const added = second?.add(entry, Buffer.from('added'), []) as KeptRecord;
    second?.setWords(kept, [7, 8, 9]);
    assert.deepEqual(added.blocks, gone.blocks);
    assert.ok(added.version > kept.version);
    assert.deepEqual(
      RecordMemory.open(memory)?.found.map(({ body, words }) => [body.toString(), words]),
      [
        ['added', [0, 0, 0, 0]],
        ['kept', [7, 8, 9, 0]],
      ],
    );
  });

  it('leaves nothing when it is wiped, and is not read when it was wiped in part', () => {
    const memory = new TornMemory(1 << 20);
    const records = RecordMemory.create(memory);
    for (let index = 0; index < 50; index++) records.add(secret, Buffer.alloc(5_000, 0x53), []);
    const before = memory.writes.length;
    records.wipe();
    assert.ok(memory.bytes.every((byte) => byte === 0));
    assert.equal(records.add(secret, Buffer.alloc(1), []), undefined);
    assert.equal(RecordMemory.open(memory.after(before, (index) => index < 300)), undefined);
  });

  it('is not read by another version, nor with sizes that are not its own', () => {
    const make = () => {
      const memory = new TornMemory(1 << 14);
      RecordMemory.create(memory).add(entry, Buffer.from('x'), []);
      return memory;
    };
    assert.deepEqual(bodies(make()), ['x']);
    for (const at of [HEADER.magic, HEADER.version, HEADER.blockBytes, HEADER.blocks]) {
      const memory = make();
      memory.bytes.writeUInt32LE(77, at);
      assert.equal(RecordMemory.open(memory), undefined, `at ${at}`);
    }
    for (const end of [0, 65, 0xffff_ffff]) {
      const memory = make();
      memory.bytes.writeUInt32LE(end, HEADER.end);
      assert.equal(RecordMemory.open(memory), undefined, `end ${end}`);
    }
    assert.equal(RecordMemory.open(new TornMemory(1 << 14)), undefined, 'zeros');
  });

  it('takes no content for a record: a body that holds the bytes of one is a body', () => {
    const memory = new TornMemory(1 << 16);
    const records = RecordMemory.create(memory);
    records.add(entry, Buffer.from('forged'), []);
    const forged = memory.bytes.subarray(BLOCK_BYTES, 2 * BLOCK_BYTES);
    for (let shift = 0; shift < BLOCK_BYTES; shift += 8)
      records.add(secret, Buffer.concat([Buffer.alloc(shift), forged, forged, forged]), []);
    const torn = memory.writes.findIndex(({ at }) => at === 2 * BLOCK_BYTES);
    assert.deepEqual(bodies(memory.after(torn, () => false)), ['forged']);
    assert.equal(bodies(memory).filter((body) => body === 'forged').length, 1);
  });

  it('loses a record whose links lead astray, and no other', () => {
    const links = { itself: 1, another: 5, header: 0, outside: 9_999_999, end: 12, 'a later block of another': 6 };
    for (const [name, link] of Object.entries(links)) {
      const memory = new TornMemory(1 << 16);
      const records = RecordMemory.create(memory);
      records.add(secret, Buffer.alloc(900, 0x61), []); // blocks 1 to 4
      records.add(secret, Buffer.alloc(900, 0x62), []); // blocks 5 to 8
      memory.bytes.writeUInt32LE(link, 1 * BLOCK_BYTES + HEAD.next);
      assert.deepEqual(bodies(memory), ['b'.repeat(900)], name);
      assert.ok(!memory.bytes.includes('aaa'), `${name}: what is lost is overwritten`);
    }
  });

  it('never gives what was not written, whatever bytes are damaged', () => {
    const random = randomFrom(11);
    for (let round = 0; round < 300; round++) {
      const memory = new TornMemory(1 << 14);
      const records = RecordMemory.create(memory);
      const written = new Set<string>();
      for (let index = 0; index < 15; index++) {
        const body = `${index}`.repeat(random(600));
        written.add(body);
        records.add(entry, Buffer.from(body), []);
      }
      for (let damage = 0; damage <= random(20); damage++) memory.bytes[BLOCK_BYTES + random(40 * BLOCK_BYTES)] = random(256);
      for (const body of bodies(memory)) assert.ok(written.has(body));
    }
  });
});
