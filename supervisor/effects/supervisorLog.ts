/** The supervisor's own log: one record per transition, JSON where programs read it and a line where people do. */
import { stripVTControlCharacters } from 'node:util'
import { withoutSecrets } from '../../shared/secrets.ts'

type LogLevel = 'DEBUG' | 'INFO' | 'WARN' | 'ERROR'

/** The shape of Go's slog JSON handler too, so that one reader does for the logs of supervisor and workers. */
export interface LogRecord {
  /** RFC 3339. */
  time: string
  level: string
  msg: string
  [field: string]: unknown
}

export interface Log {
  /** Secrets of URLs and Tailscale keys are masked: what is logged stays. A field that is undefined is left out. */
  info(msg: string, fields?: Record<string, unknown>): void
  warn(msg: string, fields?: Record<string, unknown>): void
  error(msg: string, fields?: Record<string, unknown>): void
}

/** What may wait for a slow reader; beyond it lines are dropped and counted, or they would pile up without end. */
const MAX_WAITING_BYTES = 1024 * 1024

/**
 * A log on `stream`. The supervisor outlives its reader: a closed or full pipe loses lines and nothing else.
 */
export function createLog(stream: NodeJS.WriteStream | NodeJS.WritableStream, { json }: { json: boolean }): Log {
  let gone = false
  let dropped = 0
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // After EAGAIN there may be room again; after anything else (EPIPE, EIO of a closed terminal) nobody reads any more.
    if (error.code !== 'EAGAIN') gone = true
  })

  function write(level: LogLevel, msg: string, fields: Record<string, unknown> = {}): void {
    if (gone) return
    if ('writableLength' in stream && stream.writableLength > MAX_WAITING_BYTES) {
      dropped++
      return
    }
    const record: LogRecord = { time: new Date().toISOString(), level, msg, ...fields }
    if (dropped > 0) record.linesDroppedBefore = dropped
    dropped = 0
    const line = JSON.stringify(record, masked)
    stream.write(`${json ? line : formatRecord(JSON.parse(line) as LogRecord)}\n`)
  }

  return {
    info: (msg, fields) => write('INFO', msg, fields),
    warn: (msg, fields) => write('WARN', msg, fields),
    error: (msg, fields) => write('ERROR', msg, fields),
  }
}

const masked = (_key: string, value: unknown) => (typeof value === 'string' ? withoutSecrets(value) : value)

type Paint = (text: string) => string

/** "11-21 12:03:04 INFO  blog  ready ip=100.64.0.1": local time, level, service, message, other fields. No control characters. */
export function formatRecord(
  record: LogRecord,
  paints: { dim?: Paint; level?: (level: string) => Paint; service?: Paint } = {},
): string {
  const { time, level, msg, service, ...fields } = record
  const { dim = identity, level: levelPaint = () => identity, service: servicePaint = identity } = paints
  // What the message says already is left out: "service is ready phase=ready reason=Ready".
  const said = new Set(msg.toLowerCase().split(/\W+/))
  const isSaid = (value: unknown) => typeof value === 'string' && said.has(value.toLowerCase())
  const rest = Object.entries(fields).filter(([, value]) => value !== undefined && value !== '' && !isSaid(value))
  return [
    dim(localTime(time)),
    levelPaint(level)(clean(level).padEnd(5)),
    ...(typeof service === 'string' && service !== '' ? [servicePaint(clean(service))] : []),
    clean(msg),
    ...rest.map(([key, value]) => dim(`${clean(key)}=${formatValue(value)}`)),
  ].join(' ')
}

const identity = (text: string) => text

function formatValue(value: unknown): string {
  const text = clean(typeof value === 'string' ? value : JSON.stringify(value))
  return /[\s="]/.test(text) && typeof value === 'string' ? JSON.stringify(text) : text
}

/** A logged path or message must not be able to drive the terminal that shows it. */
const clean = (text: string): string => stripVTControlCharacters(text).replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ')

function localTime(time: string): string {
  const date = new Date(time)
  if (Number.isNaN(date.getTime())) return clean(time)
  const two = (n: number) => String(n).padStart(2, '0')
  const day = `${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}
