import { execFile, spawn } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MAX_OUTPUT_BYTES = 512 << 20;

/**
 * Everything that can be seen of a tree, one line a fact, sorted: type, mode, owner, size, time with nanoseconds, device numbers, link target, hard-link groups, extended attributes, and a digest of each file's bytes.
 * Names are kept byte for byte. Two trees are the same when their lines are.
 *
 * @param withoutTimesOf directories whose times are left out, relative to the root
 */
export async function describeTree(root: string, withoutTimesOf: ReadonlySet<string>): Promise<readonly string[]> {
  const directory = 'd %P\\t%m %U:%G %T@\\0';
  const other = '%y %P\\t%m %U:%G %s %T@ %n %l\\0';
  const [facts, digests, groups, devices, attributes] = await Promise.all([
    find(root, ['(', '-type', 'd', '-printf', directory, ')', '-o', '-printf', other]),
    digestFiles(root),
    hardLinkGroups(root),
    deviceNumbers(root),
    extendedAttributes(root),
  ]);
  return [...facts.map((line) => withoutTime(line, withoutTimesOf)), ...digests, ...groups, ...devices, ...attributes].sort();
}

function withoutTime(line: string, directories: ReadonlySet<string>): string {
  if (!line.startsWith('d ') || !directories.has(line.slice(2, line.indexOf('\t')))) return line;
  return line.slice(0, line.lastIndexOf(' '));
}

/** The lines that only one of two trees has, with `-` and `+` before them. */
export function differences(expected: readonly string[], actual: readonly string[]): readonly string[] {
  const left = new Set(expected);
  const right = new Set(actual);
  return [
    ...expected.filter((line) => !right.has(line)).map((line) => `- ${line}`),
    ...actual.filter((line) => !left.has(line)).map((line) => `+ ${line}`),
  ];
}

async function find(root: string, args: readonly string[]): Promise<readonly string[]> {
  const { stdout } = await run('find', [root, '-xdev', '-mindepth', '1', ...args], { maxBuffer: MAX_OUTPUT_BYTES, encoding: 'latin1' });
  return stdout.split('\0').filter((line) => line !== '');
}

async function digestFiles(root: string): Promise<readonly string[]> {
  const output = await shell('cd "$1" && find . -xdev -type f -print0 | sort -z | xargs -0 -r -n 512 sha256sum -z', root);
  return output.split('\0').filter((line) => line !== '');
}

/** Names that share an inode, as one line a group. */
async function hardLinkGroups(root: string): Promise<readonly string[]> {
  const byInode = Map.groupBy(await find(root, ['-type', 'f', '-links', '+1', '-printf', '%i %P\\0']), (line) =>
    line.slice(0, line.indexOf(' ')),
  );
  return [...byInode.values()].map(
    (lines) =>
      `link ${lines
        .map((line) => line.slice(line.indexOf(' ') + 1))
        .sort()
        .join('\t')}`,
  );
}

async function deviceNumbers(root: string): Promise<readonly string[]> {
  const output = await shell(
    'cd "$1" && find . -xdev \\( -type b -o -type c \\) -print0 | sort -z | xargs -0 -r stat --printf "device %n %t:%T\\0"',
    root,
  );
  return output.split('\0').filter((line) => line !== '');
}

async function extendedAttributes(root: string): Promise<readonly string[]> {
  const output = await shell(
    'cd "$1" && find . -xdev -mindepth 1 -print0 | xargs -0 -r getfattr -h -d -m - -e hex 2>/dev/null || true',
    root,
  );
  return output
    .split('\n\n')
    .filter((block) => block.includes('='))
    .map((block) => `xattr ${block.trim().split('\n').sort().join(' ')}`);
}

/** Output as latin1, so that names keep their bytes. */
async function shell(script: string, argument: string): Promise<string> {
  const child = spawn('sh', ['-euc', script, 'sh', argument], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LC_ALL: 'C' },
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (code !== 0) throw new Error(`${script} in ${argument} ended with ${code ?? 'a signal'}`);
  return Buffer.concat(chunks).toString('latin1');
}
