/** The same bytes in pieces of exactly `sizeBytes`, but for the last. A piece is only valid until the next is asked for. */
export async function* rechunk(content: Uint8Array | AsyncIterable<Uint8Array>, sizeBytes: number): AsyncGenerator<Uint8Array> {
  let pending: Uint8Array | undefined;
  let filled = 0;
  for await (const chunk of content instanceof Uint8Array ? [content] : content) {
    let offset = 0;
    while (offset < chunk.length) {
      if (filled === 0 && chunk.length - offset >= sizeBytes) {
        yield chunk.subarray(offset, offset + sizeBytes);
        offset += sizeBytes;
        continue;
      }
      pending ??= new Uint8Array(sizeBytes);
      const taken = Math.min(sizeBytes - filled, chunk.length - offset);
      pending.set(chunk.subarray(offset, offset + taken), filled);
      filled += taken;
      offset += taken;
      if (filled === sizeBytes) {
        yield pending;
        filled = 0;
      }
    }
  }
  if (pending !== undefined && filled > 0) yield pending.subarray(0, filled);
}
