/**
 * Looks at the state of the node every few seconds, and tells of what becomes an alarm or ends to be one: in the log, in the metrics, to
 * subscribers and in the administration API. Main thread; owned by the broker, loaded once it serves.
 */
import type { NodeSettings } from '../../config/schema.ts';
import type { Alarm, AlarmChange, AlarmSource } from '../../core/ports/alarms.ts';
import { alarmActiveMetric, alarmNames, alarmsActivatedMetric } from '../../observability/alarm-metrics.ts';
import type { Logger } from '../../observability/log.ts';
import type { ThreadMetrics } from '../../observability/metrics.ts';
import { toError } from '../../std/errors.ts';
import type { AlarmFile } from './alarm-file.ts';
import { AlarmState, type Sample } from './alarm-state.ts';
import type { Probe } from './probes.ts';

export interface AlarmServiceOptions {
  readonly settings: Pick<NodeSettings['alarms'], 'intervalMs' | 'historyMax'>;
  readonly probes: readonly Probe[];
  readonly file: AlarmFile;
  /** The main thread's. */
  readonly metrics: ThreadMetrics;
  readonly log: Logger;
  /** For subscribers. */
  tell(change: AlarmChange): void;
}

export class AlarmService implements AlarmSource {
  private readonly options: AlarmServiceOptions;
  private readonly slots: ReadonlyMap<string, { readonly active: number; readonly activated: number }>;
  private state: AlarmState;
  private timer: NodeJS.Timeout | null = null;
  private isStopped = false;

  constructor(options: AlarmServiceOptions) {
    this.options = options;
    const { metrics, settings } = options;
    this.slots = new Map(
      alarmNames.map((alarm) => [
        alarm,
        {
          active: metrics.slot(alarmActiveMetric, { alarm }),
          activated: metrics.slot(alarmsActivatedMetric, { alarm }),
        },
      ]),
    );
    this.state = new AlarmState(settings.historyMax);
  }

  /** Reads what was before and begins to look. */
  async start(): Promise<void> {
    const { settings, file } = this.options;
    this.state = new AlarmState(settings.historyMax, await file.read(Date.now()));
    await this.look();
  }

  /** What is active stays so in the file: the node ends, and not the reason. */
  async stop(): Promise<void> {
    this.isStopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.options.file.settled();
  }

  active(): readonly Alarm[] {
    return this.state.active();
  }

  history(): readonly Alarm[] {
    return this.state.history();
  }

  clearHistory(): number {
    const count = this.state.clearHistory();
    this.save();
    return count;
  }

  private async look(): Promise<void> {
    for (const probe of this.options.probes) {
      const samples = await this.measure(probe);
      if (this.isStopped) return;
      if (samples !== null) this.judge(probe, samples);
    }
    if (this.isStopped) return;
    // After the work and not beside it: a slow disk makes it rarer, not more.
    this.timer = setTimeout(() => void this.look(), this.options.settings.intervalMs);
    this.timer.unref();
  }

  /** Null: it cannot be measured now, which is no reason to end alarms. */
  private async measure(probe: Probe): Promise<readonly Sample[] | null> {
    try {
      return await probe.measure(Date.now());
    } catch (error) {
      this.options.log.warn('Cannot measure for an alarm', { alarm: probe.name, reason: toError(error).message });
      return null;
    }
  }

  private judge({ name }: Probe, samples: readonly Sample[]): void {
    const nowMs = Date.now();
    const subjects = new Set(samples.map(({ subject }) => subject));
    const changes = this.state.update(samples, nowMs, performance.now());
    // Without a single sample there is nothing to compare with, unless the things themselves are gone.
    const gone =
      samples.length === 0 && name !== 'certificate-expiring' ? [] : this.state.retain(name, subjects, nowMs);
    for (const change of [...changes, ...gone]) this.report(change);
    if (changes.length + gone.length > 0) this.save();
  }

  private report({ type, alarm }: AlarmChange): void {
    const { metrics, log, tell } = this.options;
    const { name, subject, message, value, threshold, unit } = alarm;
    const slots = this.slots.get(name);
    const fields = { alarm: name, ...(subject === '' ? {} : { subject }) };
    if (type === 'activated') log.warn('Alarm', { ...fields, reason: message, value, threshold, unit });
    else log.info('Alarm is over', { ...fields, lastedMs: (alarm.deactivatedAtMs ?? 0) - alarm.activatedAtMs });
    if (slots !== undefined) {
      if (type === 'activated') metrics.increment(slots.activated);
      metrics.add(slots.active, type === 'activated' ? 1 : -1);
    }
    tell({ type, alarm });
  }

  private save(): void {
    this.options.file.write([...this.state.history().toReversed(), ...this.state.active()]);
  }
}
