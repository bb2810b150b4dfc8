/** Whether a thrown value carries this `code`: errno names (`ENOENT`) and the codes of our own error classes alike. */
export function hasCode<C extends string>(error: unknown, ...codes: readonly C[]): error is Error & { readonly code: C } {
  return error instanceof Error && 'code' in error && (codes as readonly unknown[]).includes(error.code);
}

/** Whether the file or directory that was asked for does not exist. */
export function isNotFound(error: unknown): boolean {
  return hasCode(error, 'ENOENT');
}
