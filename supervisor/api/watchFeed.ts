/** The stream of GET /v1/watch: many readers, one serialisation of the status for each change, at most four a second. */
import type { ServerResponse } from 'node:http'
import type { Operator } from '../core/ports.ts'

export interface WatchFeed {
  /** Answers with the status now and after each change, until the reader goes or `close`. */
  add(response: ServerResponse): void
  close(): void
}

const MIN_INTERVAL_MS = 250
/** A reader that takes nothing for so long is cut off. Until then it just misses states, which the next one makes good. */
const STALLED_MS = 10_000

interface Reader {
  /** When its buffer filled up; undefined while it keeps up. */
  stalledSince: number | undefined
  missed: boolean
}

/** Listens to the operator only while somebody watches, and sets a timer only between two changes that come too close. */
export function createWatchFeed(operator: Operator): WatchFeed {
  const readers = new Map<ServerResponse, Reader>()
  let stopListening: (() => void) | undefined
  let timer: NodeJS.Timeout | undefined
  let sentAt = 0

  const lineNow = () => `${JSON.stringify(operator.status())}\n`

  function onChange(): void {
    timer ??= setTimeout(broadcast, Math.max(0, sentAt + MIN_INTERVAL_MS - performance.now()))
  }

  function broadcast(): void {
    timer = undefined
    sentAt = performance.now()
    const line = lineNow()
    for (const [response, reader] of readers) send(response, reader, line)
  }

  function send(response: ServerResponse, reader: Reader, line: string): void {
    if (reader.stalledSince === undefined) {
      if (!response.write(line)) reader.stalledSince = performance.now()
      return
    }
    reader.missed = true
    if (performance.now() - reader.stalledSince > STALLED_MS) response.destroy()
  }

  function remove(response: ServerResponse): void {
    readers.delete(response)
    if (readers.size > 0) return
    stopListening?.()
    stopListening = undefined
    clearTimeout(timer)
    timer = undefined
  }

  return {
    add(response) {
      const reader: Reader = { stalledSince: undefined, missed: false }
      readers.set(response, reader)
      stopListening ??= operator.onChange(onChange)
      response.on('close', () => remove(response))
      response.on('drain', () => {
        reader.stalledSince = undefined
        if (!reader.missed) return
        reader.missed = false
        onChange()
      })
      response.writeHead(200, { 'Content-Type': 'application/x-ndjson' })
      send(response, reader, lineNow())
    },

    close() {
      for (const response of readers.keys()) response.end()
    },
  }
}
