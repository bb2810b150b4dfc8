import { randomBytes } from 'node:crypto';
import { fromCurveSeed, type KeyPair } from '@nats-io/nkeys';
import nacl from 'tweetnacl';

/** How a sealed message begins. */
const VERSION = Buffer.from('xkv1');
const NONCE_BYTES = 24;
const KEY_BYTES = 32;
const SEED_PREFIX_BYTES = 2;
const PUBLIC_PREFIX_BYTES = 1;
const MAX_PARTNERS = 4_096;

/**
 * An X25519 pair that seals and opens as NATS xkeys do: `xkv1`, a random nonce, a NaCl box. The library's own `seal` and `open` work the secret that two pairs share out anew for each
 * message, which is nearly all of their time; here it is kept for each partner (`nacl.box.before`), and is as secret as the pair itself.
 */
export class CurveKey implements Disposable {
  readonly publicKey: string;
  readonly #pair: KeyPair;
  readonly #privateKey: Uint8Array;
  readonly #shared = new Map<string, Uint8Array>();

  /** @param seed as text, `SX...`; overwritten. @throws for what is none */
  constructor(seed: Uint8Array) {
    try {
      this.#pair = fromCurveSeed(seed);
      this.#privateKey = rawKey(seed, SEED_PREFIX_BYTES);
      this.publicKey = this.#pair.getPublicKey();
    } finally {
      seed.fill(0);
    }
  }

  /** @throws when the recipient is no public curve key */
  seal(message: Uint8Array, recipient: string): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    return Buffer.concat([VERSION, nonce, nacl.box.after(message, nonce, this.#sharedWith(recipient))]);
  }

  /** @returns undefined for what the sender did not seal to this key, or was changed since. @throws when the sender is no public curve key */
  open(sealed: Uint8Array, sender: string): Uint8Array | undefined {
    const boxAt = VERSION.length + NONCE_BYTES;
    if (sealed.length <= boxAt || !VERSION.equals(sealed.subarray(0, VERSION.length))) return undefined;
    const nonce = sealed.subarray(VERSION.length, boxAt);
    return nacl.box.open.after(sealed.subarray(boxAt), nonce, this.#sharedWith(sender)) ?? undefined;
  }

  [Symbol.dispose](): void {
    this.#pair.clear();
    this.#privateKey.fill(0);
    for (const shared of this.#shared.values()) shared.fill(0);
    this.#shared.clear();
  }

  #sharedWith(partner: string): Uint8Array {
    const known = this.#shared.get(partner);
    if (known !== undefined) return known;
    this.#pair.seal(new Uint8Array(), partner); // checks the key's form and checksum; once a partner
    const shared = nacl.box.before(rawKey(Buffer.from(partner), PUBLIC_PREFIX_BYTES), this.#privateKey);
    if (this.#shared.size >= MAX_PARTNERS) this.#forgetOldest();
    this.#shared.set(partner, shared);
    return shared;
  }

  #forgetOldest(): void {
    const [oldest] = this.#shared;
    if (oldest === undefined) return;
    const [partner, shared] = oldest;
    this.#shared.delete(partner);
    shared.fill(0);
  }
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The key in a text that the library has found right: a prefix, the key, a checksum, in base32. */
function rawKey(text: Uint8Array, prefixBytes: number): Uint8Array {
  const key = new Uint8Array(KEY_BYTES);
  let bits = 0;
  let bitCount = 0;
  let at = -prefixBytes;
  for (const letter of text) {
    bits = ((bits << 5) | BASE32.indexOf(String.fromCharCode(letter))) & 0xfff;
    bitCount += 5;
    if (bitCount < 8) continue;
    bitCount -= 8;
    if (at >= 0 && at < KEY_BYTES) key[at] = (bits >> bitCount) & 0xff;
    at++;
  }
  return key;
}
