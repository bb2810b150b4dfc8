const REDACTED = '[redacted]';

/**
 * A password or token that does not print: JSON, templates and `util.inspect` all show `[redacted]`.
 * The bytes are kept outside Node's buffer pool, so that `wipe` leaves nothing behind but copies that a header line needed.
 */
export class Secret {
  readonly #bytes: Buffer;

  private constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  static of(value: string | Uint8Array): Secret {
    const source = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
    const own = Buffer.alloc(source.length);
    own.set(source);
    return new Secret(own);
  }

  get isEmpty(): boolean {
    return this.#bytes.length === 0;
  }

  /** The secret as text. Call it in the line that builds a header or a token request, nowhere else. */
  reveal(): string {
    return this.#bytes.toString('utf8');
  }

  /** The secret's own bytes, not a copy: a password need not be UTF-8. To be read, not kept. */
  revealBytes(): Uint8Array {
    return this.#bytes;
  }

  /** Overwrites the bytes; afterwards the secret reveals NULs. */
  wipe(): void {
    this.#bytes.fill(0);
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return REDACTED;
  }
}
