/** What a shell-style pattern says about one character: `?`, a class such as `[a-c]`, or the character itself. */
interface Step {
  readonly accepts: (character: string) => boolean;
  readonly isStar: boolean;
}

const STAR: Step = { accepts: () => true, isStar: true };

/**
 * Whether a label of a host name matches a pattern of `*`, `?`, `[a-z]`, `[^a-z]` and `\` before a character that stands for itself. Letter case counts.
 * A pattern that is not well formed matches nothing. The time is at most the product of the two lengths, whatever a tenant writes.
 */
export function matchesLabel(pattern: string, label: string): boolean {
  if (pattern === label) return true; // also an address in brackets, which would read as a class
  const steps = parsePattern(pattern);
  return steps !== undefined && runSteps(steps, Array.from(label));
}

function runSteps(steps: readonly Step[], label: readonly string[]): boolean {
  let at = 0;
  let step = 0;
  let star = -1; // the last star, which takes one more character whenever what follows it does not fit
  let starEnd = 0;
  while (at < label.length) {
    const next = steps[step];
    if (next?.isStar) {
      star = step++;
      starEnd = at;
    } else if (next?.accepts(label[at] ?? '')) {
      step++;
      at++;
    } else if (star >= 0) {
      step = star + 1;
      at = ++starEnd;
    } else return false;
  }
  while (steps[step]?.isStar) step++;
  return step === steps.length;
}

function parsePattern(pattern: string): readonly Step[] | undefined {
  const characters = Array.from(pattern);
  const steps: Step[] = [];
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? '';
    if (character === '*') steps.push(STAR);
    else if (character === '?') steps.push({ accepts: () => true, isStar: false });
    else if (character === '[') {
      const parsed = parseClass(characters, at + 1);
      if (parsed === undefined) return undefined;
      steps.push({ accepts: parsed.accepts, isStar: false });
      at = parsed.end;
    } else {
      const literal = character === '\\' ? characters[++at] : character;
      if (literal === undefined) return undefined;
      steps.push({ accepts: (other) => other === literal, isStar: false });
    }
  }
  return steps;
}

/** @returns what the class accepts and where its `]` is */
function parseClass(characters: readonly string[], begin: number): { readonly accepts: Step['accepts']; readonly end: number } | undefined {
  const isNegated = characters[begin] === '^';
  const ranges: (readonly [string, string])[] = [];
  let at = isNegated ? begin + 1 : begin;
  const take = (): string | undefined => {
    const character = characters[at++];
    if (character === '\\') return characters[at++];
    return character === '-' || character === ']' ? undefined : character;
  };
  while (ranges.length === 0 || characters[at] !== ']') {
    const low = take();
    if (low === undefined) return undefined;
    let high: string | undefined = low;
    if (characters[at] === '-') {
      at++;
      high = take();
    }
    if (high === undefined) return undefined;
    ranges.push([low, high]);
  }
  const codeOf = (character: string): number => character.codePointAt(0) ?? 0;
  const accepts = (character: string): boolean =>
    ranges.some(([low, high]) => codeOf(low) <= codeOf(character) && codeOf(character) <= codeOf(high)) !== isNegated;
  return { accepts, end: at };
}
