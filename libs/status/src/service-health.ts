import { setImmediate } from 'node:timers/promises';
import { describeError } from '@soci/errors';
import type { HealthCheck, HealthCondition, HealthFinding, HealthReport } from './health-report.ts';
import { plainText } from './plain-text.ts';

export interface ServiceHealthOptions {
  /** Checked at the same time; none: the service is of use as soon as it is alive. */
  readonly conditions?: readonly HealthCondition[];
  /** Of a clock that only goes forward. */
  readonly nowMs?: () => number;
  readonly deadlineMs?: number;
}

/** What health checks came to, by name of the condition; only grows. An answer that was kept from a moment before is not counted. */
export interface HealthCounts {
  ok: number;
  failed: number;
  seconds: number;
}

const DEADLINE_MS = 2_000;
/** For how long an answer is good for others who ask: probes cannot load the service. */
const KEEP_MS = 1_000;

/** Answers `/healthz` and `/readyz`. However many ask, the conditions are looked at once a second at most, and an answer never takes longer than their deadline. */
export class ServiceHealth {
  readonly #conditions: readonly HealthCondition[];
  readonly #nowMs: () => number;
  readonly #deadlineMs: number;
  readonly #counts = new Map<string, HealthCounts>();
  /** Checks that did not come back in time, and since when. */
  readonly #hanging = new Map<string, number>();
  #flight: Promise<HealthReport> | undefined;
  #last: { readonly report: HealthReport; readonly atMs: number } | undefined;

  constructor({ conditions = [], nowMs = () => performance.now(), deadlineMs = DEADLINE_MS }: ServiceHealthOptions = {}) {
    this.#conditions = conditions;
    this.#nowMs = nowMs;
    this.#deadlineMs = deadlineMs;
  }

  get counts(): ReadonlyMap<string, Readonly<HealthCounts>> {
    return this.#counts;
  }

  /** Whether the process is alive and its main loop goes round. Where it does not, nobody gets an answer. */
  async live(): Promise<HealthReport> {
    const begin = this.#nowMs();
    await setImmediate();
    const tookMs = Math.round(this.#nowMs() - begin);
    const ok = tookMs < this.#deadlineMs;
    return { ok, checks: [{ name: 'main-loop', ok, message: `${ok ? 'went' : 'needed too long to go'} round in ${tookMs} ms` }] };
  }

  /** Whether the service can do its work now. */
  ready(): Promise<HealthReport> {
    if (this.#last !== undefined && this.#nowMs() - this.#last.atMs < KEEP_MS) return Promise.resolve(this.#last.report);
    this.#flight ??= this.#checkAll().finally(() => (this.#flight = undefined));
    return this.#flight;
  }

  async #checkAll(): Promise<HealthReport> {
    const checks = await Promise.all(this.#conditions.map((condition) => this.#check(condition)));
    const report = { ok: checks.every(({ ok }) => ok), checks };
    this.#last = { report, atMs: this.#nowMs() };
    return report;
  }

  async #check(condition: HealthCondition): Promise<HealthCheck> {
    const { name } = condition;
    const begin = this.#nowMs();
    const { ok, message } = await this.#finding(condition);
    const counts = this.#counts.get(name) ?? { ok: 0, failed: 0, seconds: 0 };
    this.#counts.set(name, counts);
    counts[ok ? 'ok' : 'failed']++;
    counts.seconds += (this.#nowMs() - begin) / 1_000;
    return { name, ok, message: plainText(message) };
  }

  async #finding(condition: HealthCondition): Promise<HealthFinding> {
    const { name } = condition;
    const since = this.#hanging.get(name);
    if (since !== undefined) return no(`the check that began ${Math.round((this.#nowMs() - since) / 1_000)} s ago has not come back`);
    const begin = this.#nowMs();
    const deadline = AbortSignal.timeout(this.#deadlineMs);
    const { promise: late, resolve: giveUp } = Promise.withResolvers<HealthFinding>();
    const onLate = (): void => {
      this.#hanging.set(name, begin);
      giveUp(no(`no result within ${this.#deadlineMs} ms`));
    };
    deadline.addEventListener('abort', onLate, { once: true });
    const finding = Promise.try(() => condition.check(deadline))
      .catch((error: unknown) => no(describeError(error)))
      .finally(() => {
        deadline.removeEventListener('abort', onLate);
        this.#hanging.delete(name);
      });
    return Promise.race([finding, late]);
  }
}

function no(message: string): HealthFinding {
  return { ok: false, message };
}
