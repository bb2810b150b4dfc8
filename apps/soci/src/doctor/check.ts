import type { DoctorContext } from './doctor-context.ts';

/** One thing that may be wrong with an installation. */
export interface Check {
  /** `fuse-device` */
  readonly name: string;
  /** The signal is its deadline. No finding: there is nothing to say here. A rejection is a warning that it could not be checked. */
  readonly run: (context: DoctorContext, signal: AbortSignal) => Promise<Verdict | readonly Verdict[]>;
}

export type Verdict =
  | { readonly outcome: 'ok'; readonly message: string }
  | { readonly outcome: 'warning' | 'problem'; readonly message: string /** What to do. */; readonly cure: string };

/** A verdict and what it is about. */
export type Finding = Verdict & { readonly check: string };

export function ok(message: string): Verdict {
  return { outcome: 'ok', message };
}

/** It works, but not as well as it could, or not for long. */
export function warning(message: string, cure: string): Verdict {
  return { outcome: 'warning', message, cure };
}

/** It does not work. */
export function problem(message: string, cure: string): Verdict {
  return { outcome: 'problem', message, cure };
}
