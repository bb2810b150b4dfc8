/** What a target of a Dockerfile says about the processes that are started from it; stages before it count where it says nothing. */
export interface ImageTarget {
  readonly entrypoint: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** `uid:gid` */
  readonly user: string | undefined;
}

interface Stage {
  readonly from: string;
  readonly lines: readonly string[];
}

/** Reads a target. @throws when there is none of that name */
export function parseTarget(dockerfile: string, target: string): ImageTarget {
  const stages = parseStages(dockerfile);
  const lines = linesOf(stages, target);
  if (lines.length === 0) throw new Error(`Dockerfile: no target ${target}`);
  const env: Record<string, string> = {};
  for (const [, pairs = ''] of matches(lines, /^ENV (.+)$/))
    for (const [, name = '', value = ''] of pairs.matchAll(/(\w+)=(\S+)/g)) env[name] = value;
  const [, entrypoint = '[]'] = matches(lines, /^ENTRYPOINT (\[.*\])$/).at(-1) ?? [];
  const [, user] = matches(lines, /^USER (\S+)$/).at(-1) ?? [];
  return { entrypoint: JSON.parse(entrypoint) as string[], env, user };
}

function parseStages(dockerfile: string): ReadonlyMap<string, Stage> {
  const stages = new Map<string, Stage & { readonly lines: string[] }>();
  let current: string[] | undefined;
  for (const line of dockerfile.replaceAll('\\\n', ' ').split('\n')) {
    const [, from, name] = /^FROM (\S+) AS (\S+)$/.exec(line) ?? [];
    if (from === undefined || name === undefined) current?.push(line);
    else stages.set(name, { from, lines: (current = []) });
  }
  return stages;
}

/** Those of the stages that it is made from first. */
function linesOf(stages: ReadonlyMap<string, Stage>, name: string): readonly string[] {
  const stage = stages.get(name);
  return stage === undefined ? [] : [...linesOf(stages, stage.from), ...stage.lines];
}

function matches(lines: readonly string[], pattern: RegExp): readonly RegExpExecArray[] {
  return lines.map((line) => pattern.exec(line)).filter((match) => match !== null);
}
