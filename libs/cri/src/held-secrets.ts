import type { Credential } from '@soci/keychain';
import type { Login } from './login.ts';

interface Held {
  readonly credential: Credential;
  readonly sizeBytes: number;
  holders: number;
}

/** One copy of each credential, however many pulls showed it; overwritten when the last of them goes. */
export class HeldSecrets {
  readonly #held = new Map<string, Held>();
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get size(): number {
    return this.#held.size;
  }

  /** @returns the login to keep; the one given is overwritten when its credential is held already */
  hold(login: Login, fingerprint: string): Login {
    if (login.kind !== 'credential') return login;
    const held = this.#held.get(fingerprint);
    if (held === undefined) {
      const sizeBytes = sizeOf(login.credential);
      this.#held.set(fingerprint, { credential: login.credential, sizeBytes, holders: 1 });
      this.#sizeBytes += sizeBytes;
      return login;
    }
    held.holders++;
    this.spare(login, fingerprint);
    return { ...login, credential: held.credential };
  }

  /** Overwrites the copy of a credential that is held already, unless it is the very one. */
  spare(login: Login, fingerprint: string): void {
    if (login.kind === 'credential' && this.#held.get(fingerprint)?.credential !== login.credential) wipe(login.credential);
  }

  /**
   * Lets go of one holder's claim.
   * @returns what to do when that was the last: call it once everybody who could still use the credential has been told
   */
  release(fingerprint: string): (() => void) | undefined {
    const held = this.#held.get(fingerprint);
    if (held === undefined || --held.holders > 0) return undefined;
    this.#held.delete(fingerprint);
    this.#sizeBytes -= held.sizeBytes;
    return () => wipe(held.credential);
  }

  wipeAll(): void {
    for (const { credential } of this.#held.values()) wipe(credential);
    this.#held.clear();
    this.#sizeBytes = 0;
  }
}

function sizeOf(credential: Credential): number {
  if (credential.kind === 'anonymous') return 0;
  return credential.kind === 'basic'
    ? credential.username.length + credential.password.revealBytes().length
    : credential.token.revealBytes().length;
}

export function wipe(credential: Credential): void {
  if (credential.kind === 'basic') credential.password.wipe();
  else if (credential.kind !== 'anonymous') credential.token.wipe();
}
