import { constants } from 'node:http2';

export const STATUS = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  deadlineExceeded: 4,
  permissionDenied: 7,
  resourceExhausted: 8,
  internal: 13,
  unavailable: 14,
} as const;

/** A gRPC status of our own making, where none came from containerd. */
export interface Status {
  readonly code: number;
  readonly message: string;
}

/** Headers or trailers that end a call. */
export function toTrailers({ code, message }: Status): { readonly 'grpc-status': string; readonly 'grpc-message': string } {
  return { 'grpc-status': String(code), 'grpc-message': encodeURI(message) };
}

const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** @param value of `grpc-timeout`: at most eight digits and a unit @returns undefined for none, and for what is none */
export function timeoutMsOf(value: string | undefined): number | undefined {
  const [, digits, unit = ''] = /^([0-9]{1,8})([HMSmun])$/.exec(value ?? '') ?? [];
  const unitMs = UNIT_MS[unit];
  return digits === undefined || unitMs === undefined ? undefined : Number(digits) * unitMs;
}

/**
 * What an HTTP/2 error code means for a call that got no status.
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#http2-transport-mapping
 */
export function statusOfReset(rstCode: number): Status {
  switch (rstCode) {
    case constants.NGHTTP2_REFUSED_STREAM:
      return { code: STATUS.unavailable, message: 'image service refused the call' };
    case constants.NGHTTP2_CANCEL:
      return { code: STATUS.cancelled, message: 'image service cancelled the call' };
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return { code: STATUS.resourceExhausted, message: 'image service has too much to do' };
    case constants.NGHTTP2_INADEQUATE_SECURITY:
      return { code: STATUS.permissionDenied, message: 'image service wants a better connection' };
    default:
      return { code: STATUS.internal, message: `image service reset the call with code ${rstCode}` };
  }
}
