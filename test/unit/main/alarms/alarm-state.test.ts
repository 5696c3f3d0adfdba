/** When a value becomes an alarm and when it ends to be one, and what is kept of it. */
import { describe, expect, it } from 'vitest';
import { type AlarmRule, AlarmState } from '../../../../src/main/alarms/alarm-state.ts';

const high: AlarmRule = {
  ...{ name: 'cpu-high', isHighBad: true, activateAt: 90, deactivateAt: 70, durationMs: 10, unit: 'percent' },
};
const low: AlarmRule = { ...high, name: 'disk-low', isHighBad: false, activateAt: 5, deactivateAt: 10 };

/** What happens with one value every five milliseconds. */
function run(rule: AlarmRule, values: readonly number[], state = new AlarmState(10)): string[] {
  return values.map((value, index) => {
    const changes = state.update([{ rule, subject: '', value, message: `${value}` }], 1_000 + index * 5);
    return changes.map(({ type }) => type).join();
  });
}

describe('AlarmState', () => {
  it('update() raises an alarm when the value was beyond its bound for long enough, once', () => {
    expect(run(high, [89, 90, 95, 90, 99, 99])).toEqual(['', '', '', 'activated', '', '']);
    expect(run(high, [90, 95, 89, 90, 90, 90])).toEqual(['', '', '', '', '', 'activated']);
    expect(run({ ...high, durationMs: 0 }, [89, 90])).toEqual(['', 'activated']);
  });

  it('update() ends it when the value was back behind the other bound for long enough', () => {
    const raised = [90, 90, 90];
    expect(run(high, [...raised, 80, 71, 70, 60, 71, 70, 70, 70]).slice(3)).toEqual([
      ...['', '', '', '', '', '', '', 'deactivated'],
    ]);
  });

  it('update() knows values of which too little is bad', () => {
    expect(run(low, [6, 5, 4, 5, 9, 10, 11, 10])).toEqual(['', '', '', 'activated', '', '', '', 'deactivated']);
  });

  it('update() does not go to and fro where both bounds are one', () => {
    const rule = { ...high, activateAt: 80, deactivateAt: 80, durationMs: 0 };
    expect(run(rule, [80, 80, 80, 79, 80])).toEqual(['activated', '', '', 'deactivated', 'activated']);
  });

  it('active() and history() tell what was measured when it began, and when it ended', () => {
    const state = new AlarmState(10);
    run(high, [90, 91, 92], state);
    const alarm = { name: 'cpu-high', subject: '', message: '92', value: 92, threshold: 90, unit: 'percent' };
    expect(state.active()).toEqual([{ ...alarm, activatedAtMs: 1_010, deactivatedAtMs: null }]);
    const back = [{ rule: high, subject: '', value: 1, message: '' }];
    state.update(back, 1_500);
    state.update(back, 2_000);
    expect(state.active()).toEqual([]);
    expect(state.history()).toEqual([{ ...alarm, activatedAtMs: 1_010, deactivatedAtMs: 2_000 }]);
    expect(state.clearHistory()).toBe(1);
    expect(state.history()).toEqual([]);
  });

  it('retain() ends alarms about what is gone', () => {
    const state = new AlarmState(10);
    const rule = { ...low, durationMs: 0 };
    const sample = (subject: string) => ({ rule, subject, value: 0, message: subject });
    state.update([sample('a'), sample('b')], 1);
    expect(state.retain('disk-low', new Set(['b']), 2).map(({ alarm }) => alarm.subject)).toEqual(['a']);
    expect(state.active().map(({ subject }) => subject)).toEqual(['b']);
    expect(state.retain('cpu-high', new Set(), 3)).toEqual([]);
  });

  it('history() is bounded, and begins with what was known', () => {
    const past = [1, 2, 3].map((at) => ({
      ...{ name: 'cpu-high' as const, subject: `${at}`, message: '', value: 1, threshold: 1, unit: '' },
      ...{ activatedAtMs: at, deactivatedAtMs: at },
    }));
    const state = new AlarmState(2, past);
    expect(state.history().map(({ subject }) => subject)).toEqual(['3', '2']);
    run({ ...high, durationMs: 0 }, [90, 1], state);
    expect(state.history().map(({ subject }) => subject)).toEqual(['', '3']);
    expect(new AlarmState(0, past).history()).toEqual([]);
  });
});
