import { open } from 'node:fs/promises'
import { linesBackwards } from './linesBackwards.ts'
import { type LogEntry, parseLogEntry } from './logEntry.ts'
import { isMissing, type LogSource } from './logFiles.ts'

export interface TailOptions {
  count: number
  wanted: (entry: LogEntry) => boolean
  /** Where to take a file (by path) as ended; files that are not here end where they end. */
  ends?: ReadonlyMap<string, number>
}

/** The last `count` entries of all logs together that are wanted, oldest first. Reads each log only as far back as needed. */
export async function tailLogs(sources: readonly LogSource[], options: TailOptions): Promise<LogEntry[]> {
  const { count } = options
  const tails = await Promise.all(sources.map((source) => tailOf(source, options)))
  // The sort is stable, so entries of one log with equal times keep their order.
  const merged = tails.flat().sort((a, b) => a.timeMs - b.timeMs)
  return merged.slice(Math.max(0, merged.length - count))
}

async function tailOf(source: LogSource, { count, wanted, ends }: TailOptions): Promise<LogEntry[]> {
  const newestFirst: LogEntry[] = []
  // Lines without a time (a stack trace) take that of the record before them, which comes later when reading backwards.
  let untimed: LogEntry[] = []
  for await (const line of linesOf(source, ends)) {
    const entry = parseLogEntry(line)
    if (!wanted(entry)) continue
    newestFirst.push(entry)
    if (Number.isNaN(entry.timeMs)) untimed.push(entry)
    else {
      for (const earlier of untimed) earlier.timeMs = entry.timeMs
      untimed = []
    }
    if (newestFirst.length >= count && untimed.length === 0) break
  }
  for (const entry of untimed) entry.timeMs = 0
  return newestFirst.reverse()
}

async function* linesOf({ paths }: LogSource, ends: ReadonlyMap<string, number> | undefined): AsyncGenerator<string> {
  for (const path of paths) {
    const file = await open(path).catch((error: unknown) => {
      if (isMissing(error)) return undefined
      throw new Error(`cannot read the log ${path}: ${String(error)}`, { cause: error })
    })
    if (!file) continue
    try {
      yield* linesBackwards(file, ends?.get(path) ?? (await file.stat()).size)
    } finally {
      await file.close()
    }
  }
}
