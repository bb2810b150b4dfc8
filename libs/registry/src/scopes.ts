/**
 * Brings scopes into one form, so that equal rights have equal cache keys: one scope for each resource, actions sorted and once each, `*` alone where it is among them.
 *
 * @see https://distribution.github.io/distribution/spec/auth/scope/
 */
export function cleanScopes(scopes: readonly string[]): string[] {
  const actions = new Map<string, Set<string>>();
  const others = new Set<string>();
  for (const scope of scopes) {
    const first = scope.indexOf(':');
    const last = scope.lastIndexOf(':');
    if (first < 0 || first === last) {
      if (scope !== '') others.add(scope);
      continue;
    }
    const resource = scope.slice(0, last);
    const wanted = actions.get(resource) ?? new Set<string>();
    for (const action of scope.slice(last + 1).split(',')) if (action !== '') wanted.add(action);
    actions.set(resource, wanted);
  }
  const merged = [...actions].map(([resource, set]) => `${resource}:${set.has('*') ? '*' : [...set].sort().join(',')}`);
  return [...merged, ...others].sort();
}

/** `repository:team/app:pull,push` */
export function repositoryScope(repository: string, actions: readonly string[]): string {
  return `repository:${repository}:${actions.join(',')}`;
}
