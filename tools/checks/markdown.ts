/** A fenced block of a document. */
export interface FencedBlock {
  /** `sh`, `toml`; empty without one. */
  readonly language: string;
  /** Without the indentation of the list item that it stands in. */
  readonly text: string;
  /** 1-based line of the opening fence. */
  readonly line: number;
  /** Title of the second-level section that it stands in. */
  readonly section: string;
}

const FENCE = /^( *)```(\w*)$/;

export function fencedBlocks(markdown: string): readonly FencedBlock[] {
  const blocks: FencedBlock[] = [];
  let open: { readonly indent: string; readonly language: string; readonly line: number; readonly lines: string[] } | undefined;
  let section = '';
  for (const [index, line] of markdown.split('\n').entries()) {
    const fence = FENCE.exec(line);
    if (open === undefined) {
      if (fence !== null) open = { indent: fence[1] ?? '', language: fence[2] ?? '', line: index + 1, lines: [] };
      else section = /^## (.+)$/.exec(line)?.[1] ?? section;
    } else if (fence?.[1] === open.indent && fence[2] === '') {
      const { language, line: at, lines } = open;
      blocks.push({ language, text: `${lines.join('\n')}\n`, line: at, section });
      open = undefined;
    } else {
      open.lines.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line.trimStart());
    }
  }
  if (open !== undefined) throw new SyntaxError(`line ${open.line}: the block has no end`);
  return blocks;
}

/** The file that a block shows the content of: its first line is a comment with the path. */
export function fileOf({ text }: FencedBlock): string | undefined {
  return /^# (\/\S+)\n/.exec(text)?.[1];
}

/** The commands of a `sh` block, one a line: a line end behind a backslash does not end one. */
export function commandsOf({ text }: FencedBlock): readonly string[] {
  return text
    .replaceAll('\\\n', ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** Anchors of a document's headings, as GitHub makes them. */
export function anchorsOf(markdown: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const line of withoutBlocks(markdown)) {
    const [, title] = /^#{1,6} (.+)$/.exec(line) ?? [];
    if (title === undefined) continue;
    anchors.add(
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-'),
    );
  }
  return anchors;
}

/** Targets of the links in a document, with the lines they stand on. */
export function linksOf(markdown: string): readonly { readonly target: string; readonly line: number }[] {
  const lines = withoutBlocks(markdown);
  // A link may be broken over two lines.
  return lines.flatMap((line, index) =>
    [...`${line} ${lines[index + 1] ?? ''}`.matchAll(/\]\(([^()\s]+)\)/g)].map(([, target = '']) => ({ target, line: index + 1 })),
  );
}

function withoutBlocks(markdown: string): readonly string[] {
  let isInside = false;
  return markdown.split('\n').map((line) => {
    if (/^ *```/.test(line)) isInside = !isInside;
    return isInside ? '' : line;
  });
}
