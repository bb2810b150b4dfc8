import type { HttpResponse } from './transport.ts';

/** `Content-Range: bytes first-last/total`, positions inclusive. @returns undefined when there is none, or one of several */
export function contentRangeOf(response: HttpResponse): { readonly first: number; readonly last: number } | undefined {
  const match = /^bytes ([0-9]{1,15})-([0-9]{1,15})\/(?:[0-9]{1,15}|\*)$/i.exec(response.header('content-range')?.trim() ?? '');
  return match === null ? undefined : { first: Number(match[1]), last: Number(match[2]) };
}
