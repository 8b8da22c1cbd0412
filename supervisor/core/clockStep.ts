/**
 * Steps of the clock. Whatever is remembered with a time is remembered by the clock as it was: when somebody sets that (or the
 * machine has slept, for as long as it did), all times move with it, so that every span between then and now stays what it was.
 * Nobody's patience ends because of it, no pause lasts longer, and no cooldown is over. Pure.
 */
import type { Culprits } from './culpritRecord.ts'
import type { MemoryHistory } from './memory.ts'
import type { Observed, ObservedWorker, Rebalancing, Remembered, ServiceRecord, ShardRecord } from './types.ts'

type Change = (at: number) => number

/** What was observed, as if by a clock that is ahead by so many ms. What workers say of themselves is theirs and stays. */
export function shiftObserved(observed: Observed, byMs: number): Observed {
  const change: Change = (at) => at + byMs
  return {
    workers: mapValues(observed.workers, (worker) => shiftWorker(worker, change)),
    services: mapValues(observed.services, (record) => shiftService(record, change)),
    shards: mapValues(observed.shards, (record) => shiftShard(record, change)),
    certificateOrders: mapValues(observed.certificateOrders, (times) => times.map(change)),
    works: mapValues(observed.works, (work) => ({ ...work, at: change(work.at) })),
    deaths: observed.deaths.map((death) => ({ ...death, at: change(death.at) })),
    orphans: observed.orphans,
    exits: observed.exits,
  }
}

/** The same of what outlives the supervisor, or of a part of it. */
export function shiftRemembered<Part extends Partial<Remembered>>(part: Part, byMs: number): Part {
  return byMs === 0 ? part : withTimes(part, (at) => at + byMs)
}

/**
 * What an earlier supervisor has left, for one that begins now: nothing in it is to come, even if the clock was set back
 * meanwhile, and the patience with moves begins anew.
 */
export function takeOver(remembered: Remembered, now: number): Remembered {
  const past = withTimes(remembered, (at) => Math.min(at, now))
  const moves = mapValues(past.moves, (move) => ({ ...move, queuedAt: now, begunAt: orNull(move.begunAt, () => now) }))
  return { ...past, moves }
}

function withTimes<Part extends Partial<Remembered>>(part: Part, change: Change): Part {
  const { certificateOrders, moves, rebalancing, culprits } = part
  return {
    ...part,
    ...(certificateOrders && { certificateOrders: mapValues(certificateOrders, (times) => times.map(change)) }),
    ...(moves && {
      moves: mapValues(moves, (move) => ({ ...move, queuedAt: change(move.queuedAt), begunAt: orNull(move.begunAt, change) })),
    }),
    ...(rebalancing && { rebalancing: shiftRebalancing(rebalancing, change) }),
    ...(culprits && { culprits: shiftCulprits(culprits, change) }),
  }
}

const shiftRebalancing = (rebalancing: Rebalancing, change: Change): Rebalancing => ({
  ...rebalancing,
  movedAt: mapValues(rebalancing.movedAt, change),
  decisions: rebalancing.decisions.map((record) => ({
    ...record,
    at: change(record.at),
    carriedOutAt: orNull(record.carriedOutAt, change),
    measuredAt: orNull(record.measuredAt, change),
  })),
})

/** What a search is called stays as it is: that is a name, although it is made of a time. */
const shiftCulprits = (culprits: Culprits, change: Change): Culprits => ({
  ...culprits,
  deaths: culprits.deaths.map((death) => ({ ...death, at: change(death.at) })),
  quarantine: mapValues(culprits.quarantine, (kept) => ({ ...kept, since: change(kept.since) })),
})

function shiftWorker(worker: ObservedWorker, change: Change): ObservedWorker {
  const { usage, memory } = worker
  return {
    ...worker,
    since: change(worker.since),
    deadline: orNull(worker.deadline, change),
    silentSince: orNull(worker.silentSince, change),
    usage: usage && { ...usage, at: change(usage.at) },
    memory: shiftMemory(memory, change),
  }
}

function shiftMemory({ recent, hours, current, growth }: MemoryHistory, change: Change): MemoryHistory {
  return {
    recent,
    hours: hours.map((hour) => ({ ...hour, at: change(hour.at) })),
    current: current && { ...current, at: change(current.at) },
    growth: growth && { ...growth, since: change(growth.since) },
  }
}

function shiftService(record: ServiceRecord, change: Change): ServiceRecord {
  const { failures, retryAt, problem } = record
  return {
    ...record,
    failures: { ...failures, at: change(failures.at) },
    retryAt: orNull(retryAt, change),
    problem: problem && { ...problem, since: change(problem.since) },
  }
}

const shiftShard = (record: ShardRecord, change: Change): ShardRecord => ({
  ...record,
  failures: { ...record.failures, at: change(record.failures.at) },
  respawnAt: change(record.respawnAt),
})

const orNull = (at: number | null, change: Change): number | null => (at === null ? null : change(at))

const mapValues = <K, V>(map: ReadonlyMap<K, V>, change: (value: V) => V): ReadonlyMap<K, V> =>
  new Map([...map].map(([key, value]) => [key, change(value)]))
