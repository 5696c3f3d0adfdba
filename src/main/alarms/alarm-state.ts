/**
 * The alarms that there are and were. Pure: values and time are arguments, changes are the result. Main thread, called by the service.
 *
 * An alarm is raised when a value was beyond its bound for the whole of a duration, and ends when it was back behind another bound for as long.
 */
import type { Alarm, AlarmChange } from '../../core/ports/alarms.ts';
import type { AlarmName } from '../../observability/alarm-metrics.ts';

/** When a value is an alarm. */
export interface AlarmRule {
  readonly name: AlarmName;
  /** On which side of `activateAt` it is one. */
  readonly isHighBad: boolean;
  readonly activateAt: number;
  readonly deactivateAt: number;
  readonly durationMs: number;
  readonly unit: string;
}

export interface Sample {
  readonly rule: AlarmRule;
  readonly subject: string;
  readonly value: number;
  /** For people, should it become an alarm. */
  readonly message: string;
}

interface Watched {
  readonly rule: AlarmRule;
  /** Since when it has been on the other side of the bound that matters now; null: it is not. */
  sinceMs: number | null;
  active: Alarm | null;
}

export class AlarmState {
  private readonly watched = new Map<string, Watched>();
  private readonly historyMax: number;
  /** Newest last. */
  private past: Alarm[];

  /** `past`: what is known of former alarms, oldest first. */
  constructor(historyMax: number, past: readonly Alarm[] = []) {
    this.historyMax = historyMax;
    this.past = historyMax === 0 ? [] : past.slice(-historyMax);
  }

  active(): readonly Alarm[] {
    const active = [...this.watched.values()].flatMap((watched) => watched.active ?? []);
    return active.sort((one, other) => one.activatedAtMs - other.activatedAtMs);
  }

  /** Newest first. */
  history(): readonly Alarm[] {
    return this.past.toReversed();
  }

  clearHistory(): number {
    const count = this.past.length;
    this.past = [];
    return count;
  }

  /**
   * All values that could be measured now (Unix time). An alarm about something that was not measured stays as it is. Durations go by
   * `clockMs`, which nobody sets.
   */
  update(samples: readonly Sample[], nowMs: number, clockMs = nowMs): readonly AlarmChange[] {
    return samples.flatMap((sample) => this.judge(sample, nowMs, clockMs) ?? []);
  }

  /** Ends alarms of a name about subjects that are gone. */
  retain(name: AlarmName, subjects: ReadonlySet<string>, nowMs: number): readonly AlarmChange[] {
    const changes: AlarmChange[] = [];
    for (const [key, watched] of this.watched) {
      if (watched.rule.name !== name || subjects.has(key.slice(name.length + 1))) continue;
      this.watched.delete(key);
      if (watched.active !== null) changes.push(this.end(watched, watched.active, nowMs));
    }
    return changes;
  }

  private judge(sample: Sample, nowMs: number, clockMs: number): AlarmChange | null {
    const { rule, subject, value } = sample;
    const key = `${rule.name}/${subject}`;
    let watched = this.watched.get(key);
    if (watched === undefined) {
      watched = { rule, sinceMs: null, active: null };
      this.watched.set(key, watched);
    }
    const { active } = watched;
    if (!(active === null ? isBeyond(rule, value) : isBack(rule, value))) {
      watched.sinceMs = null;
      return null;
    }
    watched.sinceMs ??= clockMs;
    if (clockMs - watched.sinceMs < rule.durationMs) return null;
    watched.sinceMs = null;
    return active === null ? raise(watched, sample, nowMs) : this.end(watched, active, nowMs);
  }

  private end(watched: Watched, active: Alarm, nowMs: number): AlarmChange {
    const alarm = { ...active, deactivatedAtMs: Math.max(nowMs, active.activatedAtMs) };
    watched.active = null;
    if (this.historyMax > 0) {
      this.past.push(alarm);
      if (this.past.length > this.historyMax) this.past.shift();
    }
    return { type: 'deactivated', alarm };
  }
}

function raise(watched: Watched, { rule, subject, value, message }: Sample, nowMs: number): AlarmChange {
  const { name, activateAt, unit } = rule;
  const alarm = {
    name,
    subject,
    message,
    value,
    threshold: activateAt,
    unit,
    activatedAtMs: nowMs,
    deactivatedAtMs: null,
  };
  watched.active = alarm;
  return { type: 'activated', alarm };
}

function isBeyond({ isHighBad, activateAt }: AlarmRule, value: number): boolean {
  return isHighBad ? value >= activateAt : value <= activateAt;
}

/** On the way back the bound itself still is an alarm where both bounds are the same, or it would end and begin for ever. */
function isBack({ isHighBad, activateAt, deactivateAt }: AlarmRule, value: number): boolean {
  if (isHighBad) return value <= deactivateAt && value < activateAt;
  return value >= deactivateAt && value > activateAt;
}
