/** What is known of one family of snapshots: an active one, the layer it is committed as, and a container on that layer. */
export interface FamilyState {
  readonly active: boolean;
  readonly layer: boolean;
  readonly container: boolean;
}

export type Operation =
  | 'prepare'
  | 'prepare lazily' // with the layer as target: the snapshotter commits it itself, or leaves it to the caller
  | 'commit'
  | 'prepare container'
  | 'mounts'
  | 'mounts of container'
  | 'remove'
  | 'remove layer'
  | 'remove container';

/** `unknown`: the call was cut off or called off, so that it may have been carried out or not. */
export type Outcome = 'ok' | 'NOT_FOUND' | 'ALREADY_EXISTS' | 'FAILED_PRECONDITION' | 'unknown';

export interface PastCall {
  readonly operation: Operation;
  readonly outcome: Outcome;
  readonly beginMs: number;
  readonly endMs: number;
}

export const EMPTY: FamilyState = { active: false, layer: false, container: false };

type Transition = readonly [Exclude<Outcome, 'unknown'>, FamilyState];

/** What a call may answer in a state, and the state after it. */
function transitions(operation: Operation, state: FamilyState): readonly Transition[] {
  const { active, layer, container } = state;
  switch (operation) {
    case 'prepare':
      return active ? [['ALREADY_EXISTS', state]] : [['ok', { ...state, active: true }]];
    case 'prepare lazily':
      if (active || layer) return [['ALREADY_EXISTS', state]];
      return [
        ['ALREADY_EXISTS', { ...state, layer: true }],
        ['ok', { ...state, active: true }],
      ];
    case 'commit':
      if (!active) return [['NOT_FOUND', state]];
      return layer ? [['ALREADY_EXISTS', state]] : [['ok', { ...state, active: false, layer: true }]];
    case 'prepare container':
      if (container) return [['ALREADY_EXISTS', state]];
      return layer ? [['ok', { ...state, container: true }]] : [['NOT_FOUND', state]];
    case 'mounts':
      return [[active ? 'ok' : 'NOT_FOUND', state]];
    case 'mounts of container':
      return [[container ? 'ok' : 'NOT_FOUND', state]];
    case 'remove':
      return active ? [['ok', { ...state, active: false }]] : [['NOT_FOUND', state]];
    case 'remove layer':
      if (!layer) return [['NOT_FOUND', state]];
      return container ? [['FAILED_PRECONDITION', state]] : [['ok', { ...state, layer: false }]];
    case 'remove container':
      return container ? [['ok', { ...state, container: false }]] : [['NOT_FOUND', state]];
  }
}

/**
 * The states in which calls may have left a family that were made at the same time, each of them carried out at one moment between its begin and its end:
 * every order is tried that the times allow and the answers do not rule out.
 */
export function possibleStates(before: FamilyState, all: readonly PastCall[]): readonly FamilyState[] {
  const calls = all.map((call) => (isGlimpse(call, all) ? { ...call, outcome: 'unknown' as const } : call));
  const found = new Map<string, FamilyState>();
  const seen = new Set<string>();
  const search = (state: FamilyState, left: readonly number[]): void => {
    const id = `${keyOf(state)} ${left.join()}`;
    if (seen.has(id)) return;
    seen.add(id);
    if (left.length === 0) found.set(keyOf(state), state);
    for (const index of left) {
      const call = calls[index];
      if (call === undefined || left.some((other) => other !== index && endOf(calls[other]) < call.beginMs)) continue;
      const others = left.filter((other) => other !== index);
      if (call.outcome === 'unknown') search(state, others);
      // Cut off before it was found, or said, that the layer is there.
      if (call.outcome === 'unknown' && call.operation === 'prepare lazily') search({ ...state, active: true }, others);
      for (const [outcome, after] of transitions(call.operation, state)) {
        if (call.outcome === outcome || call.outcome === 'unknown') search(after, others);
      }
    }
  };
  search(
    before,
    calls.map((_, index) => index),
  );
  return [...found.values()];
}

const MAKES = { mounts: ['prepare', 'prepare lazily'], 'mounts of container': ['prepare container'] } as const;

/** While a call makes a snapshot its mounts can be asked for, whatever becomes of it: a layer under another name, or nothing. */
function isGlimpse({ operation, outcome, beginMs, endMs }: PastCall, all: readonly PastCall[]): boolean {
  if (outcome !== 'ok' || (operation !== 'mounts' && operation !== 'mounts of container')) return false;
  const makes: readonly Operation[] = MAKES[operation];
  return all.some((other) => makes.includes(other.operation) && other.beginMs < endMs && endOf(other) > beginMs);
}

export function keyOf({ active, layer, container }: FamilyState): string {
  return [active && 'active', layer && 'layer', container && 'container'].filter(Boolean).join('+') || 'nothing';
}

/** A call whose answer nobody heard may be carried out for as long as the process lives. */
function endOf(call: PastCall | undefined): number {
  return call === undefined || call.outcome === 'unknown' ? Number.POSITIVE_INFINITY : call.endMs;
}
