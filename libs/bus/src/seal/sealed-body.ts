import { bus } from '@soci/proto';
import { Refused } from '../refusals.ts';
import type { CurveKey } from './curve-key.ts';

/** Seals a message, and overwrites it. */
export function seal(own: CurveKey, recipientKey: string, binding: bus.Binding, message: Uint8Array): bus.Sealed {
  const body = bus.SealedBody.encode({ binding, message: Buffer.from(message.buffer, message.byteOffset, message.byteLength) }).finish();
  try {
    return { senderKey: own.publicKey, recipientKey, box: own.seal(body, recipientKey) };
  } finally {
    body.fill(0);
    message.fill(0);
  }
}

/** What was sealed. The caller overwrites the message when it has been read. */
export interface Opened {
  readonly binding: bus.Binding;
  readonly message: Buffer;
}

/**
 * @param senderKey that the sender is known by, whatever the message says
 * @throws {Refused} `UNREADABLE` for what was not sealed by that key to ours, or was cut or altered since
 */
export function open(own: CurveKey, senderKey: string, { box }: bus.Sealed): Opened {
  let body: Uint8Array | undefined;
  try {
    body = own.open(box, senderKey);
    if (body === undefined) throw new Refused('UNREADABLE');
    const { binding, message } = bus.SealedBody.decode(body);
    if (binding === undefined) throw new Refused('UNREADABLE');
    return { binding, message };
  } catch (error) {
    throw error instanceof Refused ? error : new Refused('UNREADABLE');
  } finally {
    body?.fill(0);
  }
}
