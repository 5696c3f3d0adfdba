/**
 * Alarms on disk, so that they are known after a restart: one small JSON file in the data folder, replaced as a whole. Main thread.
 * It is for people who look back, not for decisions: what cannot be read is left out, what cannot be written is logged.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Alarm } from '../../core/ports/alarms.ts';
import { alarmNames } from '../../observability/alarm-metrics.ts';
import type { Logger } from '../../observability/log.ts';
import { toError } from '../../std/errors.ts';

const FILE_NAME = 'alarms.json';
const VERSION = 1;
/** Beyond what the largest history takes, it is not a file of ours. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;

interface Content {
  readonly version: number;
  /** Oldest first; those that were active have `deactivatedAtMs` null. */
  readonly alarms: readonly Alarm[];
}

export class AlarmFile {
  private readonly path: string;
  private readonly log: Logger;
  private next: readonly Alarm[] | null = null;
  private writing: Promise<void> | null = null;

  constructor(folder: string, log: Logger) {
    this.path = join(folder, FILE_NAME);
    this.log = log;
  }

  /** Former alarms, oldest first. Those that were active when the node ended are over now. Never rejects. */
  async read(nowMs: number): Promise<readonly Alarm[]> {
    try {
      const bytes = await readFile(this.path);
      if (bytes.length > FILE_BYTES_MAX) throw new Error(`it has more than ${FILE_BYTES_MAX} bytes`);
      return alarmsOf(JSON.parse(bytes.toString('utf8'))).map((alarm) =>
        alarm.deactivatedAtMs === null ? { ...alarm, deactivatedAtMs: Math.max(nowMs, alarm.activatedAtMs) } : alarm,
      );
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        this.log.warn('Former alarms cannot be read', { path: this.path, reason: toError(error).message });
      }
      return [];
    }
  }

  /** Writes in a moment; of several calls the last one counts. */
  write(alarms: readonly Alarm[]): void {
    this.next = alarms;
    this.writing ??= this.writeAll();
  }

  /** Resolves when all that was to be written is, or could not be. */
  async settled(): Promise<void> {
    await this.writing;
  }

  private async writeAll(): Promise<void> {
    while (this.next !== null) {
      const content: Content = { version: VERSION, alarms: this.next };
      this.next = null;
      try {
        const draft = `${this.path}.new`;
        await writeFile(draft, `${JSON.stringify(content)}\n`, { mode: 0o600, flush: true });
        await rename(draft, this.path);
      } catch (error) {
        this.log.warn('Alarms cannot be written', { path: this.path, reason: toError(error).message });
      }
    }
    this.writing = null;
  }
}

function alarmsOf(content: unknown): Alarm[] {
  const { version, alarms } = (content ?? {}) as Partial<Content>;
  if (version !== VERSION || !Array.isArray(alarms)) throw new Error('it is not in the form that is written here');
  return (alarms as unknown[]).filter(isAlarm);
}

function isAlarm(value: unknown): value is Alarm {
  if (typeof value !== 'object' || value === null) return false;
  const { name, subject, message, unit, deactivatedAtMs, ...numbers } = value as Alarm;
  return (
    (alarmNames as readonly unknown[]).includes(name) &&
    [subject, message, unit].every((text) => typeof text === 'string') &&
    [numbers.value, numbers.threshold, numbers.activatedAtMs].every(Number.isFinite) &&
    (deactivatedAtMs === null || Number.isFinite(deactivatedAtMs))
  );
}
