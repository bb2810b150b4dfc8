import { SecretsError } from './errors.ts';

const LINE_FEED = 10;

/**
 * Splits a stream into lines and parses each as JSON. Empty lines are passed over, and so is a last one without its line feed: it was cut.
 *
 * @throws {SecretsError} `ANSWER_TOO_LARGE` for a line above the limit, `ANSWER_INVALID` for one that is not JSON; never with a piece of it
 */
export async function* jsonLines(chunks: AsyncIterable<Buffer>, maxLineBytes: number): AsyncGenerator {
  let held: Buffer[] = [];
  let heldBytes = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      held.push(chunk.subarray(start, end));
      heldBytes += end - start;
      start = end + 1;
      if (heldBytes > maxLineBytes) throw tooLarge(maxLineBytes);
      const line = Buffer.concat(held, heldBytes);
      held = [];
      heldBytes = 0;
      if (line.length > 0) yield parse(line);
    }
    if (start === chunk.length) continue;
    held.push(Buffer.from(chunk.subarray(start))); // a copy: the rest of the chunk need not be kept
    heldBytes += chunk.length - start;
    if (heldBytes > maxLineBytes) throw tooLarge(maxLineBytes);
  }
}

function parse(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString('utf8'));
  } catch {
    throw new SecretsError('ANSWER_INVALID', 'a line of a watch is not JSON'); // the parser's message would quote it
  }
}

function tooLarge(maxLineBytes: number): SecretsError {
  return new SecretsError('ANSWER_TOO_LARGE', `a line of a watch of more than ${maxLineBytes} bytes`);
}
