import { none, type Answer, type CredentialSource, type Lookup, type SourceChange } from './source.ts';

/**
 * Asks the sources in order and gives the first answer that is not `none`, so that an error or a source that is not ready ends the search.
 * Nobody is asked twice: what the registry thinks of an answer is not this function's business.
 */
export function firstOf(sources: readonly CredentialSource[]): CredentialSource {
  return {
    name: sources.map((source) => source.name).join(', ') || 'no source',
    async resolve(lookup: Lookup, signal: AbortSignal): Promise<Answer> {
      const reasons: string[] = [];
      for (const source of sources) {
        signal.throwIfAborted();
        const answer = await source.resolve(lookup, signal);
        if (answer.kind !== 'none') return answer;
        reasons.push(`${source.name}: ${answer.reason ?? 'nothing'}`);
      }
      return none(reasons.join('; ') || 'no source');
    },
    refused(fingerprint: string): boolean {
      const isWorthAnother = sources.map((source) => source.refused?.(fingerprint) ?? false); // each of them is told
      return isWorthAnother.includes(true);
    },
    onChange(listener: (change: SourceChange) => void): Disposable {
      const subscriptions = new DisposableStack();
      for (const source of sources) if (source.onChange !== undefined) subscriptions.use(source.onChange(listener));
      return subscriptions;
    },
  };
}
