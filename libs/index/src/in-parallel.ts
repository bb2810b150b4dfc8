/**
 * Works on the items in their order, at most `limit` at once. The first failure aborts the signal of the others, and is thrown when all have ended.
 */
export async function inParallel<T>(
  items: readonly T[],
  limit: number,
  work: (item: T, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const queue = items.values();
  const runner = async (): Promise<void> => {
    for (const item of queue) {
      both.throwIfAborted();
      await work(item, both);
    }
  };
  let failed: { readonly error: unknown } | undefined;
  const runners = Array.from({ length: Math.min(Math.max(1, limit), items.length) }, async () => {
    try {
      await runner();
    } catch (error) {
      failed ??= { error };
      stop.abort(error);
    }
  });
  await Promise.all(runners);
  if (failed !== undefined) throw failed.error;
}
