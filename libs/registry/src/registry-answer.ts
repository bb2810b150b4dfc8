import { readBody, type HttpResponse } from './transport.ts';

/** What an answer that is no success says about itself. */
export interface ErrorAnswer {
  /** Codes of the registry's error document: `DENIED`, `MANIFEST_UNKNOWN`. */
  readonly codes: readonly string[];
  /** The registry says that a login of twelve hours is over; it does so with 403 and without a challenge. */
  readonly isLoginExpired: boolean;
  /** Storage says that a signed address is over. */
  readonly isAddressExpired: boolean;
}

const MAX_ERROR_BYTES = 64 * 1024;
const MAX_CODES = 4;
const ECR_EXPIRY_MESSAGE = 'Your authorization token has expired. Reauthenticate and try again.';

/** Reads the body of an answer that is no success. Only codes are taken from it: a message may hold anything. */
export async function readErrorAnswer(response: HttpResponse, signal: AbortSignal): Promise<ErrorAnswer> {
  const type = (response.header('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  let text = '';
  try {
    text = (await readBody(response.body, MAX_ERROR_BYTES))?.toString('utf8') ?? '';
  } catch {
    signal.throwIfAborted(); // else: the status is known, and worth more than why its explanation broke off
  }
  const errors = parseErrors(text);
  return {
    codes: errors.flatMap(({ code }) => (/^[A-Z0-9_]{1,40}$/.test(code) ? [code] : [])).slice(0, MAX_CODES),
    isLoginExpired: response.status === 403 && errors.some(({ message }) => message === ECR_EXPIRY_MESSAGE),
    isAddressExpired: response.status === 400 && type === 'application/xml' && /<Code>\s*ExpiredToken\s*<\/Code>/.test(text),
  };
}

function parseErrors(text: string): { readonly code: string; readonly message: string }[] {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return []; // HTML of a proxy, XML of a storage
  }
  const list: unknown = typeof document === 'object' && document !== null && 'errors' in document ? document.errors : undefined;
  if (!Array.isArray(list)) return [];
  return list.map((item: unknown) => {
    const fields = new Map<string, unknown>(typeof item === 'object' && item !== null ? Object.entries(item) : []);
    return { code: asText(fields.get('code')), message: asText(fields.get('message')) };
  });
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
