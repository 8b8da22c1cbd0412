/** What an attack may do to the others of its shard, and whether it did more. Pure. */
import type { Unit } from '../../harness/metrics.ts'
import { formatNumber, formatPercent, formatQuantity } from '../report/format.ts'
import type { Requests } from '../../harness/results.ts'
import type { Trial, Verdict, Worker } from './results.ts'

/** A neighbour's 99th percentile may grow by this factor. */
const SLOWER = 2
/** Below these, a 99th percentile tells of the machine and its other work, and not of the attack. */
const FLOOR_MS = { kept: 10, fresh: 15 }
/** Of a neighbour's requests, those that may fail: some new connections do without an attack, too (ports used again too early). */
const FAILED_SHARE = 0.01
/** The worker's memory may stay larger by this factor. */
const LARGER = 1.5
/** Files and goroutines come and go by themselves within this: connections to control, relay and upstream. */
const SOME = { share: 0.1, least: 20 }

/** How much of each a worker may have afterwards. */
function limits(before: Worker): Record<'rssBytes' | 'openFiles' | 'goroutines', number> {
  const about = (count: number) => count + Math.max(SOME.least, Math.ceil(SOME.share * count))
  return { rssBytes: LARGER * before.rssBytes, openFiles: about(before.openFiles), goroutines: about(before.goroutines) }
}

const AFTERWARDS = [
  { key: 'rssBytes', about: 'memory afterwards', unit: 'bytes' },
  { key: 'openFiles', about: 'open files afterwards', unit: 'count' },
  { key: 'goroutines', about: 'goroutines afterwards', unit: 'count' },
] as const satisfies readonly { key: keyof Worker; about: string; unit: Unit }[]

/** Whether a worker uses no more than it may after an attack. */
export function isBack(now: Pick<Worker, 'rssBytes' | 'openFiles' | 'goroutines'>, before: Worker): boolean {
  const most = limits(before)
  return AFTERWARDS.every(({ key }) => now[key] <= most[key])
}

/** All requirements, in the order of the report. */
export function judge({ before, during, after }: Omit<Trial, 'verdicts'>): Verdict[] {
  const most = limits(before.worker)
  return [
    slowed("neighbour's p99", before.neighbour.kept, during.neighbour.kept, FLOOR_MS.kept),
    slowed("neighbour's p99, new connections", before.neighbour.fresh, during.neighbour.fresh, FLOOR_MS.fresh),
    failed([during.neighbour.kept, during.neighbour.fresh]),
    ...AFTERWARDS.map(({ key, about, unit }) => ({
      about,
      met: after.worker[key] <= most[key],
      found: formatQuantity(after.worker[key], unit),
      limit: formatQuantity(most[key], unit),
    })),
  ]
}

function slowed(about: string, before: Requests, during: Requests, floorMs: number): Verdict {
  const limit = SLOWER * Math.max(before.p99Ms, floorMs)
  return {
    about,
    // Without an answer there is no percentile.
    met: during.total > during.failed && during.p99Ms <= limit,
    found: formatQuantity(during.p99Ms, 'milliseconds'),
    limit: formatQuantity(limit, 'milliseconds'),
  }
}

function failed(asked: readonly Requests[]): Verdict {
  const count = (of: (requests: Requests) => number) => asked.reduce((sum, requests) => sum + of(requests), 0)
  const [total, failures] = [count((requests) => requests.total), count((requests) => requests.failed)]
  return {
    about: "neighbour's failures",
    met: failures <= FAILED_SHARE * total,
    found: `${formatNumber(failures)} of ${formatNumber(total)}`,
    limit: formatPercent(FAILED_SHARE),
  }
}
