import { assertNever } from '@soci/errors';
import type { CharTest } from './go-regexp-class.ts';
import { GoRegexpError, parseGoRegexp, type Assertion, type Node } from './go-regexp-syntax.ts';

export { GoRegexpError } from './go-regexp-syntax.ts';

export interface GoRegexp {
  /** Whether any part of the text matches, as Go's MatchString. */
  test(text: string): boolean;
}

/** About what RE2 itself would need 1 MB for; keeps the longest possible look-up (4 KiB of text) below a tenth of a second. */
const MAX_PROGRAM_SIZE = 5000;

type Instruction =
  | { readonly op: 'char'; readonly test: CharTest }
  | { readonly op: 'assert'; readonly assertion: Assertion }
  | { readonly op: 'split'; readonly targets: readonly number[] }
  | { readonly op: 'match' };

/**
 * Compiles an RE2 expression into a program that runs in time proportional to program and text: JavaScript's own engine
 * backtracks, and an expression comes from whoever may list snapshots.
 *
 * @throws {GoRegexpError} for what RE2 refuses, what is longer than 1,024 characters, and what unfolds into more than 5,000 steps
 */
export function compileGoRegexp(source: string): GoRegexp {
  const program = new Compiler().compile(parseGoRegexp(source));
  return { test: (text) => run(program, Array.from(text)) };
}

class Compiler {
  readonly #program: Instruction[] = [];

  compile(node: Node): readonly Instruction[] {
    this.#emit(node);
    this.#push({ op: 'match' });
    return this.#program;
  }

  #emit(node: Node): void {
    switch (node.kind) {
      case 'char':
        this.#push({ op: 'char', test: node.test });
        return;
      case 'assert':
        this.#push({ op: 'assert', assertion: node.assertion });
        return;
      case 'sequence':
        for (const part of node.nodes) this.#emit(part);
        return;
      case 'choice':
        this.#emitChoice(node.nodes);
        return;
      case 'repeat':
        this.#emitRepeat(node.node, node.min, node.max);
        return;
      default:
        assertNever(node);
    }
  }

  #emitChoice(nodes: readonly Node[]): void {
    const starts: number[] = [];
    const ends: number[][] = [];
    this.#push({ op: 'split', targets: starts });
    for (const node of nodes) {
      starts.push(this.#program.length);
      this.#emit(node);
      const end: number[] = [];
      ends.push(end);
      this.#push({ op: 'split', targets: end });
    }
    for (const end of ends) end.push(this.#program.length);
  }

  #emitRepeat(node: Node, min: number, max: number): void {
    for (let i = 0; i < min; i++) this.#emit(node);
    if (max === Infinity) {
      const start = this.#program.length;
      const targets = [start + 1];
      this.#push({ op: 'split', targets });
      this.#emit(node);
      this.#push({ op: 'split', targets: [start] });
      targets.push(this.#program.length);
      return;
    }
    const skips: number[][] = [];
    for (let i = min; i < max; i++) {
      const targets = [this.#program.length + 1];
      skips.push(targets);
      this.#push({ op: 'split', targets });
      this.#emit(node);
    }
    for (const targets of skips) targets.push(this.#program.length);
  }

  #push(instruction: Instruction): void {
    if (this.#program.length >= MAX_PROGRAM_SIZE)
      throw new GoRegexpError('regular expression too large: its repetitions unfold into too many steps');
    this.#program.push(instruction);
  }
}

/** Follows all ways through the program at once, one character at a time. */
function run(program: readonly Instruction[], text: readonly string[]): boolean {
  const seenAt = new Int32Array(program.length).fill(-1);
  let waiting: number[] = [];
  for (let position = 0; position <= text.length; position++) {
    const reachable: number[] = [];
    const open = [0, ...waiting];
    for (let index = open.pop(); index !== undefined; index = open.pop()) {
      if (seenAt[index] === position) continue;
      seenAt[index] = position;
      const instruction = program[index];
      if (instruction?.op === 'match') return true;
      if (instruction?.op === 'char') reachable.push(index);
      else if (instruction?.op === 'split') open.push(...instruction.targets);
      else if (instruction !== undefined && holds(instruction.assertion, text, position)) open.push(index + 1);
    }
    const character = text[position];
    if (character === undefined) return false;
    waiting = reachable.filter((index) => isMatch(program[index], character)).map((index) => index + 1);
  }
  return false;
}

function isMatch(instruction: Instruction | undefined, character: string): boolean {
  return instruction?.op === 'char' && instruction.test(character);
}

function holds(assertion: Assertion, text: readonly string[], position: number): boolean {
  switch (assertion) {
    case 'text-start':
      return position === 0;
    case 'text-end':
      return position === text.length;
    case 'line-start':
      return position === 0 || text[position - 1] === '\n';
    case 'line-end':
      return position === text.length || text[position] === '\n';
    case 'word-boundary':
      return isWord(text[position - 1]) !== isWord(text[position]);
    case 'no-word-boundary':
      return isWord(text[position - 1]) === isWord(text[position]);
    default:
      return assertNever(assertion);
  }
}

function isWord(character: string | undefined): boolean {
  return character !== undefined && /^[0-9A-Za-z_]$/.test(character);
}
