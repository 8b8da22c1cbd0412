import type { LogRecord } from '../../effects/supervisorLog.ts'

/** One line of a log file. */
export interface LogEntry {
  /** Epoch ms; NaN for a line that is no record, such as those of a crash. It belongs to the record before it. */
  timeMs: number
  record: LogRecord | undefined
  /** The line as written, without its newline. */
  raw: string
}

/** Reads a line of the JSON that Go's slog and the supervisor write. Anything else is kept as it is. */
export function parseLogEntry(raw: string): LogEntry {
  const record = raw.startsWith('{') ? parseRecord(raw) : undefined
  return { timeMs: record ? Date.parse(record.time) : Number.NaN, record, raw }
}

function parseRecord(raw: string): LogRecord | undefined {
  try {
    const value: unknown = JSON.parse(raw)
    return isRecord(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isRecord(value: unknown): value is LogRecord {
  if (typeof value !== 'object' || value === null) return false
  const { time, level, msg } = value as Partial<LogRecord>
  return typeof time === 'string' && typeof level === 'string' && typeof msg === 'string'
}
