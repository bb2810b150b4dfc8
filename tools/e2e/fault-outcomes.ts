import type { Fault } from '@soci/testing';

/** What a registry has that a fault can hit: the first two are fetched when an image is prepared, as is a layer that is fetched whole; spans when a container reads. */
export const OBJECTS = ['index', 'zTOC', 'span', 'whole layer'] as const;
export type FaultObject = (typeof OBJECTS)[number];

/** `plain pull`: the image is left to containerd, which pulls it as ever. `EIO`: the read fails in time, and a later one tries again. */
export type Outcome = 'right bytes' | 'plain pull' | 'EIO';

/** What comes of a fault that one request meets, and of one that lasts. */
export interface Outcomes {
  readonly once: Outcome;
  readonly always: Outcome;
}

export interface FaultRow {
  /** As the table says it. */
  readonly name: string;
  readonly fault: (place: FaultPlace) => Fault;
  readonly outcomes: Readonly<Record<FaultObject, Outcomes>>;
}

export interface FaultPlace {
  /** Of a storage that refuses every address: `127.0.0.1:PORT`. */
  readonly refusingStorage: string;
}

const RIGHT: Outcomes = { once: 'right bytes', always: 'right bytes' };
const NOT_ASKED_AGAIN: Outcomes = { once: 'plain pull', always: 'plain pull' };
const ASKED_AGAIN: Outcomes = { once: 'right bytes', always: 'plain pull' };
const WAITED_FOR: Outcomes = { once: 'right bytes', always: 'EIO' };

/** Trouble: whoever has it is asked again. */
const TROUBLE: FaultRow['outcomes'] = { index: ASKED_AGAIN, zTOC: ASKED_AGAIN, span: WAITED_FOR, 'whole layer': ASKED_AGAIN };
/** An answer: it is taken at its word when an image is prepared; a read waits, since it has nowhere else to go. */
const REFUSAL: FaultRow['outcomes'] = { index: NOT_ASKED_AGAIN, zTOC: NOT_ASKED_AGAIN, span: WAITED_FOR, 'whole layer': NOT_ASKED_AGAIN };

const status = (code: number, headers: Readonly<Record<string, string>> = {}): (() => Fault) => {
  return () => ({ kind: 'status', status: code, headers });
};

export const FAULT_ROWS: readonly FaultRow[] = [
  { name: 'no answer (hang)', fault: () => ({ kind: 'hang' }), outcomes: TROUBLE },
  { name: 'connection reset', fault: () => ({ kind: 'reset' }), outcomes: TROUBLE },
  { name: '403', fault: status(403), outcomes: REFUSAL },
  { name: '404', fault: status(404), outcomes: REFUSAL },
  { name: '416', fault: status(416), outcomes: REFUSAL },
  { name: '429', fault: status(429), outcomes: TROUBLE },
  { name: '429 with `Retry-After`', fault: status(429, { 'retry-after': '3600' }), outcomes: TROUBLE },
  { name: '500', fault: status(500), outcomes: TROUBLE },
  {
    name: '200 for a range',
    fault: () => ({ kind: 'whole' }),
    outcomes: { index: RIGHT, zTOC: RIGHT, span: WAITED_FOR, 'whole layer': RIGHT },
  },
  { name: 'body ends early', fault: () => ({ kind: 'short', bytes: 1_000 }), outcomes: TROUBLE },
  {
    name: 'wrong bytes',
    fault: () => ({ kind: 'corrupt', offset: 100 }),
    outcomes: { ...REFUSAL, span: { once: 'EIO', always: 'EIO' } },
  },
  {
    name: 'redirect to a storage address that has expired',
    fault: ({ refusingStorage }) => redirect(`http://${refusingStorage}/blob?signature=old`),
    outcomes: TROUBLE,
  },
  { name: 'name that does not resolve', fault: () => redirect('http://storage.invalid/blob'), outcomes: REFUSAL },
  { name: 'body that trickles', fault: () => ({ kind: 'trickle', bytes: 10, everyMs: 50 }), outcomes: TROUBLE },
];

function redirect(location: string): Fault {
  return { kind: 'status', status: 307, headers: { location } };
}

/** The table of the documentation. */
export function outcomeTable(): string {
  const cell = ({ once, always }: Outcomes): string => (once === always ? always : `${once}; ${always}`);
  const rows = FAULT_ROWS.map(({ name, outcomes }) => [name, ...OBJECTS.map((object) => cell(outcomes[object]))]);
  const table = [['fault', ...OBJECTS], ['---', ...OBJECTS.map(() => '---')], ...rows];
  return table.map((row) => `| ${row.join(' | ')} |`).join('\n');
}
