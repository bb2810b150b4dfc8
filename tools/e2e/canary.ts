import { randomBytes } from 'node:crypto';

/** Around the part that is looked for: what each way of writing text down writes in another way. */
const AWKWARD = { before: 'c"\\ü/', after: '+& %=' };
const CORE_BYTES = 12;

/** Secrets that can be found again in whatever a program wrote. */
export class Canaries {
  /** What each is called in a report, by the part of it that is looked for. */
  readonly #names = new Map<string, string>();

  /** @returns a secret that nothing else contains */
  make(name: string): string {
    const core = randomBytes(CORE_BYTES).toString('hex');
    this.#names.set(core, name);
    return `${AWKWARD.before}${core}${AWKWARD.after}`;
  }

  /** A secret made elsewhere. Its letters and digits must be many enough to be nobody else's. */
  add(name: string, secret: string): void {
    this.#names.set(secret, name);
  }

  /** @returns which secrets a text has in it: as they are, in JSON or in a URL (where their core is what it is), or in base64 at any of its three offsets */
  foundIn(text: string): readonly string[] {
    return [...this.#names].filter(([core]) => formsOf(core).some((form) => text.includes(form))).map(([, name]) => name);
  }
}

function formsOf(core: string): readonly string[] {
  const inBase64 = [0, 1, 2].flatMap((offset) => {
    const encoded = Buffer.from(' '.repeat(offset) + core)
      .toString('base64')
      .replaceAll('=', '');
    const bits = { begin: offset * 8, end: (offset + core.length) * 8 };
    // Only the characters that are made of nothing but the secret: the others depend on what stands beside it.
    const whole = encoded.slice(Math.ceil(bits.begin / 6), Math.floor(bits.end / 6));
    return [whole, whole.replaceAll('+', '-').replaceAll('/', '_')];
  });
  return [core, ...inBase64];
}
