/**
 * The line of a file on which a key stands, as far as it can be told without the parser's help: the line of the key in its table, else that of the table.
 *
 * @param path from the top: `['host', 'https://mirror.example.com', 'ca']`
 * @returns counted from 1; undefined where neither is found
 */
export function lineOf(text: string, path: readonly string[]): number | undefined {
  let found: { readonly depth: number; readonly line: number } | undefined;
  let table: readonly string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const header = /^\s*\[([^[\]].*?)\]\s*(?:#.*)?$/.exec(line)?.[1];
    if (header !== undefined) table = keysOf(header);
    const key = header === undefined ? /^((?:"[^"]*"|'[^']*'|[A-Za-z0-9_.\s-])+)=/.exec(line)?.[1] : '';
    if (key === undefined) continue;
    const here = [...table, ...keysOf(key)];
    const depth = here.length <= path.length && here.every((part, at) => part === path[at]) ? here.length : 0;
    if (depth > (found?.depth ?? 0)) found = { depth, line: index + 1 };
  }
  return found?.line;
}

function keysOf(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)/g)].map(([, double, single, bare]) => double ?? single ?? bare ?? '');
}
