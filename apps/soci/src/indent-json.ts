/**
 * Puts JSON on several lines, two spaces a level, without touching anything but white space: numbers and escapes stay as they are written, as in Go's `json.Indent`.
 * @throws {SyntaxError} when the text is not JSON
 */
export function indentJson(text: string): string {
  JSON.parse(text);
  let depth = 0;
  let out = '';
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  for (const [i, token] of tokens.entries()) {
    const next = tokens[i + 1];
    if (token === '{' || token === '[') {
      const isEmpty = next === '}' || next === ']';
      if (!isEmpty) depth++;
      out += isEmpty ? token : token + newLine(depth);
    } else if (token === '}' || token === ']') {
      const wasEmpty = tokens[i - 1] === '{' || tokens[i - 1] === '[';
      if (!wasEmpty) depth--;
      out += wasEmpty ? token : newLine(depth) + token;
    } else if (token === ',') out += token + newLine(depth);
    else out += token === ':' ? ': ' : token;
  }
  return out;
}

function newLine(depth: number): string {
  return `\n${'  '.repeat(depth)}`;
}
