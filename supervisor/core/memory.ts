/**
 * What is remembered of a worker's memory (its resident set), and whether it grows without end. Pure.
 *
 * Go's memory goes up and down with its collections, and with the load. So what counts is the least of each hour. Its slope is
 * Theil and Sen's: the median over all pairs of hours, which no few odd hours can bend. Only hours in which the worker had the
 * same number of services are compared with each other: what services cost is no growth.
 */
import {
  MEMORY_SAMPLES,
  MEMORY_HOURS,
  GROWTH_LEAST_HOURS,
  GROWTH_DAY_HOURS,
  GROWTH_LEAST_PART,
  GROWTH_LEAST_BYTES,
  GROWTH_LEAST_RISING,
  GROWTH_LEAST_LASTING,
} from './tuning.ts'

/** A full hour, by the clock of the supervisor. */
interface Hour {
  /** Epoch ms of its first sample. */
  readonly at: number
  readonly leastBytes: number
  /** Null when their number has changed within the hour. */
  readonly services: number | null
}

interface MemoryGrowth {
  readonly bytesPerHour: number
  /** Epoch ms. */
  readonly since: number
}

/** The memory of one worker since this supervisor has watched it. */
export interface MemoryHistory {
  /** The newest samples, in bytes. */
  readonly recent: readonly number[]
  /** Hours that are over, oldest first. */
  readonly hours: readonly Hour[]
  readonly current: Hour | null
  /** As of the last full hour; null when it does not grow without end. */
  readonly growth: MemoryGrowth | null
}

export const noMemory: MemoryHistory = { recent: [], hours: [], current: null, growth: null }

const HOUR_MS = 3_600_000

/** Takes in a sample. One that cannot be is left out; a clock that was set back begins a new history. */
export function recordMemory(history: MemoryHistory, bytes: number, services: number, now: number): MemoryHistory {
  if (!Number.isFinite(bytes) || bytes <= 0) return history
  const { current, hours } = history.current && now < history.current.at ? noMemory : history
  const recent = [...history.recent, bytes].slice(-MEMORY_SAMPLES)
  if (!current) return { ...noMemory, recent, current: { at: now, leastBytes: bytes, services } }
  if (now - current.at < HOUR_MS) {
    const same = current.services === services ? services : null
    return { ...history, recent, current: { ...current, leastBytes: Math.min(current.leastBytes, bytes), services: same } }
  }
  const over = [...hours, current].slice(-MEMORY_HOURS)
  return { recent, hours: over, current: { at: now, leastBytes: bytes, services }, growth: growthOf(over) }
}

/** What the worker has had at least in all of the newest samples; 0 while there are not enough of them. */
export function lastingBytes({ recent }: MemoryHistory): number {
  return recent.length < MEMORY_SAMPLES ? 0 : Math.min(...recent)
}

function growthOf(hours: readonly Hour[]): MemoryGrowth | null {
  const [first] = hours
  if (!first || hours.length < GROWTH_LEAST_HOURS) return null
  const slopes = slopesOf(hours)
  const slope = median(slopes)
  const grown = slope * hours.length
  const needed = first.leastBytes * (hours.length < GROWTH_DAY_HOURS ? 1 : GROWTH_LEAST_PART)
  const rising = slopes.filter((each) => each > 0).length
  const middle = Math.floor(hours.length / 2)
  const [earlier, later] = [median(slopesOf(hours.slice(0, middle))), median(slopesOf(hours.slice(middle)))]
  const grows =
    grown >= Math.max(needed, GROWTH_LEAST_BYTES) &&
    rising >= GROWTH_LEAST_RISING * slopes.length &&
    later >= GROWTH_LEAST_LASTING * earlier
  return grows ? { bytesPerHour: Math.round(slope), since: first.at } : null
}

/** Bytes per hour between each two hours that can be compared. */
function slopesOf(hours: readonly Hour[]): number[] {
  return hours.flatMap((earlier, i) =>
    hours
      .slice(i + 1)
      .filter(({ services }) => services !== null && services === earlier.services)
      .map((later) => (HOUR_MS * (later.leastBytes - earlier.leastBytes)) / (later.at - earlier.at)),
  )
}

/** 0 of nothing. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const [low = 0, high = 0] = [sorted[middle - 1], sorted[middle]]
  return sorted.length % 2 === 1 ? high : (low + high) / 2
}
