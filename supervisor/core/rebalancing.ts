/**
 * What rebalancing needs of the past and of the operator, and the picture of the present that it decides on. Pure.
 */
import { shareCPU } from './loads.ts'
import type { EndedMove, Moves } from './moves.ts'
import type { Decision, Expectation, LoadedShard, Snapshot } from './rebalance.ts'
import { primaryWorkers } from './reconcile.ts'
import type { Desired, Observed, ObservedWorker } from './types.ts'

/** What has to outlive the supervisor, beside placement and journal. */
export interface Rebalancing {
  /** Nothing moves unless the operator says so. */
  readonly paused: boolean
  /** Shards that get nothing new. */
  readonly cordoned: ReadonlySet<number>
  /** How many shards there are to be, by the operator's word; null for as many as the load wants. */
  readonly scaledTo: number | null
  /** Epoch ms of each service's last move. */
  readonly movedAt: ReadonlyMap<string, number>
  /** Latest first. */
  readonly decisions: readonly DecisionRecord[]
}

/** A decision that moved something, and what became of it. */
export interface DecisionRecord extends Decision {
  readonly at: number
  /** What its shards had when they had come to rest; null until then. */
  readonly measured: readonly { readonly shard: number; readonly percent: number }[] | null
  /** Moves that came to nothing, in words. */
  readonly problems: readonly string[]
}

export const notRebalanced: Rebalancing = {
  paused: false,
  cordoned: new Set(),
  scaledTo: null,
  movedAt: new Map(),
  decisions: [],
}

const MOST_DECISIONS = 50

/** A shard that has not been sampled for so long is not known: three samples of the longest interval. */
const FRESH_MS = 180_000

/** How the shards stand. `touchedAt`: when a service last came to or left a shard. */
export function snapshotOf(
  desired: Desired,
  observed: Observed,
  { movedAt, cordoned }: Rebalancing,
  labels: ReadonlyMap<string, { readonly group: string; readonly spec: { readonly node: { readonly ephemeral: boolean } } }>,
  touchedAt: ReadonlyMap<number, number>,
  now: number,
): Snapshot {
  const primaries = primaryWorkers(observed.workers.values())
  const members = new Map<number, string[]>()
  for (const [name, { shard }] of desired.services) {
    const names = members.get(shard)
    if (names) names.push(name)
    else members.set(shard, [name])
  }
  const shards = [...members].map(([shard, names]): LoadedShard => {
    const worker = primaries.get(shard)
    const cpuPercent = measuredCPU(worker, names, now)
    const shares = shareCPU(cpuPercent ?? 0, names, observed.works)
    return {
      shard,
      cpuPercent,
      services: names.map((name) => ({
        name,
        cpuPercent: shares.get(name) ?? 0,
        group: labels.get(name)?.group ?? '',
        ephemeral: labels.get(name)?.spec.node.ephemeral ?? false,
        movedAt: movedAt.get(name) ?? 0,
      })),
      cordoned: cordoned.has(shard),
      settledAt: Math.max(worker?.since ?? now, touchedAt.get(shard) ?? 0),
    }
  })
  return { shards: shards.sort((a, b) => a.shard - b.shard), recentMoves: [...movedAt.values()] }
}

/** The worker's CPU, if it says something about how its services stand now. */
function measuredCPU(worker: ObservedWorker | undefined, names: readonly string[], now: number): number | null {
  if (worker?.phase !== 'ready' || worker.calls.size > 0 || !worker.usage || now - worker.usage.at > FRESH_MS) return null
  const restless = names.some((name) => {
    const phase = worker.services.get(name)?.phase
    return phase === undefined || phase === 'starting' || phase === 'draining'
  })
  return restless ? null : worker.usage.cpuPercent
}

/** The moves of a decision, for the journal. */
export function queueMoves(moves: Moves, { moves: planned, reason }: Pick<Decision, 'moves' | 'reason'>, now: number): Moves {
  const next = new Map(moves)
  for (const { name, from, to } of planned) {
    next.set(name, { from, to, why: reason, queuedAt: now, begunAt: null, problem: '' })
  }
  return next
}

export function withDecision(rebalancing: Rebalancing, decision: Decision, now: number): Rebalancing {
  const record: DecisionRecord = { ...decision, at: now, measured: null, problems: [] }
  return { ...rebalancing, decisions: [record, ...rebalancing.decisions].slice(0, MOST_DECISIONS) }
}

/** Notes when services moved, and what did not come to pass beside the decision that wanted it. */
export function withEnded(rebalancing: Rebalancing, ended: readonly EndedMove[], now: number): Rebalancing {
  const movedAt = new Map(rebalancing.movedAt)
  for (const { name, outcome } of ended) if (outcome !== 'dropped') movedAt.set(name, now)
  const decisions = rebalancing.decisions.map((record) => {
    const own = ended.filter(
      ({ name, outcome, queuedAt }) =>
        outcome !== 'moved' && queuedAt === record.at && record.moves.some((move) => move.name === name),
    )
    if (own.length === 0) return record
    return {
      ...record,
      problems: [...record.problems, ...own.map(({ name, outcome, problem }) => `${name} ${outcome}: ${problem}`)],
    }
  })
  return { ...rebalancing, movedAt, decisions }
}

/** Writes beside the latest decision what its shards have now, once all of them have come to rest. */
export function withMeasured(rebalancing: Rebalancing, { shards }: Snapshot, quietMs: number, now: number): Rebalancing {
  const [latest, ...earlier] = rebalancing.decisions
  if (!latest || latest.measured !== null) return rebalancing
  const found = latest.expected.map(({ shard }: Expectation) => shards.find((candidate) => candidate.shard === shard))
  // One that was emptied is gone.
  const left = found.flatMap((shard) => (shard ? [shard] : []))
  if (left.some(({ cpuPercent, settledAt }) => cpuPercent === null || now - settledAt < quietMs)) return rebalancing
  const measured = left.map(({ shard, cpuPercent }) => ({ shard, percent: Math.round(10 * (cpuPercent ?? 0)) / 10 }))
  return { ...rebalancing, decisions: [{ ...latest, measured }, ...earlier] }
}

/** Forgets services that are gone. */
export function forgetServices(rebalancing: Rebalancing, services: ReadonlySet<string>): Rebalancing {
  const movedAt = new Map([...rebalancing.movedAt].filter(([name]) => services.has(name)))
  return { ...rebalancing, movedAt }
}
