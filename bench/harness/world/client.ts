/** A node of its own that asks the services over the tailnet: the benchmark's eyes and its load. */
import * as z from 'zod'
import { Requests } from '../results.ts'
import { type Command, startTool } from './tool.ts'

const Awaited = z.looseObject({ answered: z.number(), missing: z.array(z.string()) })
const Answered = z.looseObject({ event: z.literal('answered'), atMs: z.number() })
const Quiet = z.looseObject({ quiet: z.boolean(), lastChangeAtMs: z.number() })

/**
 * A shape of load: so many requests a second to each target, or so many connections that never rest. Visits are those of an
 * ordinary HTTP client, which asks when it is time and keeps so many connections to each target, or none with 0.
 */
export type Load =
  | { readonly mode: 'rate' | 'visits'; readonly perSecondEach: number; readonly connections: number }
  | { readonly mode: 'closed'; readonly connections: number /** One for each request. */; readonly fresh: boolean }

export interface Client {
  readonly pid: number
  /** Asks each until it has answered once; gives when the last did, in epoch milliseconds. Rejects naming who did not. */
  untilAllAnswer(targets: readonly string[], timeoutMs: number): Promise<number>
  /**
   * Waits until its network map has not changed for `quietMs`, from `sinceMs` (epoch) on at the earliest; gives when it last
   * did, or null when it was still changing.
   */
  untilQuiet(wait: { quietMs: number; sinceMs: number; timeoutMs: number }): Promise<number | null>
  /** `onBegun` is called after the warm-up, a request on each connection, when the first one that counts is sent. */
  load(targets: readonly string[], load: Load, durationMs: number, onBegun?: () => void): Promise<Requests>
  stop(): Promise<void>
}

/** Joins the tailnet; `command` starts `tsnsrv-bench client` in the place where clients are. */
export async function joinClient(command: Command): Promise<Client> {
  const tool = await startTool(command)
  return {
    pid: tool.pid,
    async untilAllAnswer(targets, timeoutMs) {
      let last = 0
      const done = await tool.ask({ do: 'await', targets, timeoutMs }, timeoutMs, (line) => {
        const answered = Answered.safeParse(line)
        if (answered.success) last = Math.max(last, answered.data.atMs)
      })
      const { missing } = Awaited.parse(done)
      if (missing.length === 0) return last
      throw new Error(
        `${missing.length} of ${targets.length} services did not answer within ${timeoutMs / 1000} s: ${shortList(missing)}`,
      )
    },
    async untilQuiet(wait) {
      const { quiet, lastChangeAtMs } = Quiet.parse(await tool.ask({ do: 'quiet', ...wait }, wait.timeoutMs))
      return quiet ? lastChangeAtMs : null
    },
    async load(targets, load, durationMs, onBegun) {
      const done = await tool.ask({ do: 'load', targets, ...load, durationMs }, durationMs, ({ event }) => {
        if (event === 'begun') onBegun?.()
      })
      return Requests.parse(done)
    },
    stop: () => tool.stop(),
  }
}

function shortList(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ')
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown
}
