/** What a person sees while something long runs: steps as lines, details on the last line where there is a terminal. */
export class Progress {
  readonly #stream: NodeJS.WriteStream;
  #hasDetail = false;
  #lastDetailAt = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  step(text: string): void {
    this.clear();
    this.#stream.write(`- ${text}\n`);
  }

  detail(text: string): void {
    const now = performance.now();
    if (!this.#stream.isTTY || now - this.#lastDetailAt < 100) return;
    this.#lastDetailAt = now;
    this.#stream.write(`\r\x1b[K  ${text.slice(0, Math.max(20, this.#stream.columns - 4))}`);
    this.#hasDetail = true;
  }

  clear(): void {
    if (this.#hasDetail) this.#stream.write('\r\x1b[K');
    this.#hasDetail = false;
  }
}
