import type { Bus } from '@soci/bus';
import type { HealthCondition } from './health-report.ts';

/** A service that nobody can reach over its bus is of no use. None where it has no bus. */
export function busCondition(bus: Pick<Bus, 'state'> | undefined): readonly HealthCondition[] {
  if (bus === undefined) return [];
  const check = (): { readonly ok: boolean; readonly message: string } => {
    const { state } = bus;
    return state.kind === 'connected' ? { ok: true, message: 'connected' } : { ok: false, message: state.reason };
  };
  return [{ name: 'bus', check }];
}
