/**
 * The structured log: one line per event, as text or JSON, on standard error.
 *
 * Every thread makes its own root logger with `createLogger`; parts get it or a child of it. Message texts are constant
 * (what varies goes into fields), which is what lets the limit for repeated messages recognize them: a client that
 * provokes the same event a million times costs some twenty lines a second. Lines of level debug are never limited.
 * Nothing here throws, whatever the fields hold. Why this is not a library and who writes: docs/adr/0004-logging.md.
 */
import { encodeJsonLine, encodeTextLine, type LogRecord } from './log-encoding.ts';
import { RepeatLimiter } from './repeat-limiter.ts';
import { writeToStderr } from './stderr-sink.ts';

/** Levels from the most to the least urgent; a level includes those before it. */
export const logLevels = ['error', 'warn', 'info', 'debug'] as const;

export type LogLevel = (typeof logLevels)[number];
export type LogFormat = 'text' | 'json';
export type LogFields = Record<string, unknown>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. Level and limit stay those of the root. */
  child(fields: LogFields): Logger;
}

/** What a thread's composition root holds. */
export interface RootLogger extends Logger {
  readonly level: LogLevel;
  /** Acts at once, on every child too. */
  setLevel(level: LogLevel): void;
  /** Writes the outstanding summaries of suppressed lines. Call it once before the thread ends. */
  flush(): void;
}

/** Takes one line with its line feed. Answers false when it had to discard the line. */
export type LogSink = (line: string) => unknown;

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Default: standard error of the process, from every thread. */
  readonly write?: LogSink;
  /** Fields of every line, for example the thread's name. */
  readonly bindings?: LogFields;
  /** Lines per second and message text; further ones are counted and summarized once per second. */
  readonly repeatsPerS?: number;
}

export function createLogger(options: LoggerOptions): RootLogger {
  return new ThreadLogger(new LogOutput(options), options.bindings ?? {});
}

/** The part that all loggers of one thread share. */
class LogOutput {
  level: LogLevel;
  /** Position of `level` in `logLevels`; what lies behind it is not written. */
  private threshold: number;
  private readonly encode: (record: LogRecord) => string;
  private readonly write: LogSink;
  private readonly limiter: RepeatLimiter<LogLevel>;
  private summaryTimer: NodeJS.Timeout | undefined;
  private lostCount = 0;

  constructor(options: LoggerOptions) {
    this.level = options.level;
    this.threshold = logLevels.indexOf(options.level);
    this.encode = options.format === 'json' ? encodeJsonLine : encodeTextLine;
    this.write = options.write ?? writeToStderr;
    this.limiter = new RepeatLimiter(options.repeatsPerS ?? 20);
  }

  setLevel(level: LogLevel): void {
    this.level = level;
    this.threshold = logLevels.indexOf(level);
  }

  log(level: LogLevel, message: string, bindings: LogFields, fields: LogFields | undefined): void {
    if (logLevels.indexOf(level) > this.threshold) return;
    const timeMs = Date.now();
    if (level !== 'debug' && !this.limiter.admit(message, level, timeMs)) {
      // Made when it is needed; a thread that ends does not wait for it, hence `flush`.
      this.summaryTimer ??= setTimeout(() => this.flush(), 1000).unref();
      return;
    }
    this.emit({ timeMs, level, message, bindings, fields });
  }

  flush(): void {
    clearTimeout(this.summaryTimer);
    this.summaryTimer = undefined;
    for (const { text, tag, count } of this.limiter.takeSuppressed()) {
      const message = `${text} … ${count} more suppressed`;
      this.emit({ timeMs: Date.now(), level: tag, message, bindings: {}, fields: { suppressed: count } });
    }
  }

  private emit(record: LogRecord): void {
    if (this.write(this.encode(record)) === false) {
      this.lostCount++;
      return;
    }
    if (this.lostCount === 0) return;
    const lost = this.lostCount;
    this.lostCount = 0;
    this.emit({ ...record, level: 'warn', message: 'Log lines were lost', bindings: {}, fields: { lost } });
  }
}

class BoundLogger implements Logger {
  protected readonly output: LogOutput;
  private readonly bindings: LogFields;

  constructor(output: LogOutput, bindings: LogFields) {
    this.output = output;
    this.bindings = bindings;
  }

  debug(message: string, fields?: LogFields): void {
    this.output.log('debug', message, this.bindings, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.output.log('info', message, this.bindings, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.output.log('warn', message, this.bindings, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.output.log('error', message, this.bindings, fields);
  }

  child(fields: LogFields): Logger {
    return new BoundLogger(this.output, { ...this.bindings, ...fields });
  }
}

class ThreadLogger extends BoundLogger implements RootLogger {
  get level(): LogLevel {
    return this.output.level;
  }

  setLevel(level: LogLevel): void {
    this.output.setLevel(level);
  }

  flush(): void {
    this.output.flush();
  }
}
