import { fromPublic, type KeyPair } from '@nats-io/nkeys';
import { bus } from '@soci/proto';
import type { ServiceName } from '../bus.ts';
import { BusError } from '../errors.ts';
import { MAX_CLOCK_DIFFERENCE_MS, PROTOCOL_VERSION } from '../seal/binding.ts';

/** Public curve keys of a service that answers. */
export interface CurveKeys {
  readonly current: string;
  /** Accepted as well, and soon the current one; undefined unless keys are being changed. */
  readonly next: string | undefined;
}

/** What the statement is about, so that it cannot be taken for one to somebody else or of another time. */
export interface StatementContext {
  readonly service: ServiceName;
  /** The node that asks. */
  readonly node: string;
  readonly nonce: Uint8Array;
}

const CONTEXT = Buffer.from('soci.bus.v1.KeyStatement\0');

export function signStatement(
  signing: KeyPair,
  { current, next }: CurveKeys,
  context: StatementContext,
  nowMs: number,
): bus.GetKeysResponse {
  const statement = bus.KeyStatement.encode({
    version: PROTOCOL_VERSION,
    service: context.service,
    nodeId: context.node,
    nonce: Buffer.from(context.nonce),
    issuedAtMs: BigInt(Math.round(nowMs)),
    current,
    next: next ?? '',
  }).finish();
  return {
    statement: Buffer.from(statement),
    signer: signing.getPublicKey(),
    signature: Buffer.from(signing.sign(Buffer.concat([CONTEXT, statement]))),
  };
}

/**
 * @param signers public keys that may have signed it
 * @throws {BusError} `INVALID`
 */
export function readStatement(
  { statement, signer, signature }: bus.GetKeysResponse,
  signers: readonly string[],
  context: StatementContext,
  nowMs: number,
): CurveKeys {
  const { service, node, nonce } = context;
  const invalid = (why: string): BusError => new BusError('INVALID', `keys of ${service}: ${why}`);
  if (!signers.includes(signer)) throw invalid('signed by nobody we know');
  if (!isSigned(signer, Buffer.concat([CONTEXT, statement]), signature)) throw invalid('the signature is wrong');
  const said = bus.KeyStatement.decode(statement);
  if (said.version !== PROTOCOL_VERSION) throw invalid(`version ${said.version}`);
  if (said.service !== service || said.nodeId !== node || !said.nonce.equals(nonce)) throw invalid('stated to somebody else');
  if (Math.abs(Number(said.issuedAtMs) - nowMs) > MAX_CLOCK_DIFFERENCE_MS) throw invalid('the clocks are too far apart');
  return { current: said.current, next: said.next === '' ? undefined : said.next };
}

function isSigned(signer: string, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return fromPublic(signer).verify(message, signature);
  } catch {
    return false; // a signature of a wrong length
  }
}
