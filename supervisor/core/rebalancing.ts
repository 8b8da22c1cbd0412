/** What is remembered of decisions and of what became of them, for the next one and for the operator. Pure. */
import type { Decision, DecisionRecord, MoveView, RebalancingView } from '../../shared/api.ts'
import type { EndedMove } from './moves.ts'
import { compare } from './placement.ts'
import type { Snapshot } from './rebalance.ts'
import type { Moves, Rebalancing } from './types.ts'
import { MOST_DECISIONS } from './tuning.ts'

/** The moves of a decision, for the journal. */
export function queueMoves(moves: Moves, { moves: planned, reason }: Pick<Decision, 'moves' | 'reason'>, now: number): Moves {
  const next = new Map(moves)
  for (const { name, from, to } of planned) {
    next.set(name, { from, to, why: reason, queuedAt: now, begunAt: null, problem: '' })
  }
  return next
}

export function withDecision(rebalancing: Rebalancing, decision: Decision, now: number): Rebalancing {
  const record: DecisionRecord = { ...decision, at: now, carriedOutAt: null, measured: null, measuredAt: null, problems: [] }
  return { ...rebalancing, decisions: [record, ...rebalancing.decisions].slice(0, MOST_DECISIONS) }
}

/** Notes when services moved, and beside the decision that wanted it when that was, and what did not come to pass. */
export function withEnded(rebalancing: Rebalancing, ended: readonly EndedMove[], now: number): Rebalancing {
  const movedAt = new Map(rebalancing.movedAt)
  for (const { name, outcome } of ended) if (outcome !== 'dropped') movedAt.set(name, now)
  const isOf = (record: DecisionRecord, name: string) => record.moves.some((move) => move.name === name)
  const decisions = rebalancing.decisions.map((record) => {
    // The latest is meant that wanted to move it.
    const own = ended.filter(({ name }) => rebalancing.decisions.find((other) => isOf(other, name)) === record)
    if (own.length === 0) return record
    const problems = own.flatMap(({ name, outcome, problem }) => (outcome === 'moved' ? [] : [`${name} ${outcome}: ${problem}`]))
    return { ...record, carriedOutAt: now, problems: [...record.problems, ...problems] }
  })
  return { ...rebalancing, movedAt, decisions }
}

/** Writes beside the latest decision what its shards have now, once all of them have come to rest. */
export function withMeasured(rebalancing: Rebalancing, { shards }: Snapshot, quietMs: number, now: number): Rebalancing {
  const [latest, ...earlier] = rebalancing.decisions
  if (latest?.measured !== null) return rebalancing
  const found = latest.expected.map(({ shard }) => shards.find((candidate) => candidate.shard === shard))
  // One that was emptied is gone.
  const left = found.flatMap((shard) => (shard ? [shard] : []))
  if (left.some(({ cpuPercent, settledAt }) => cpuPercent === null || now - settledAt < quietMs)) return rebalancing
  const measured = left.map(({ shard, cpuPercent }) => ({ shard, percent: Math.round(10 * (cpuPercent ?? 0)) / 10 }))
  return { ...rebalancing, decisions: [{ ...latest, measured, measuredAt: now }, ...earlier] }
}

/** Forgets services that are gone. */
export function forgetServices(rebalancing: Rebalancing, services: ReadonlySet<string>): Rebalancing {
  const movedAt = new Map([...rebalancing.movedAt].filter(([name]) => services.has(name)))
  const pinned = new Set([...rebalancing.pinned].filter((name) => services.has(name)))
  return { ...rebalancing, pinned, movedAt }
}

/** What the operator wants to see of it. */
export function viewRebalancing(
  { paused, scaledTo, pinned, upgrade, decisions }: Rebalancing,
  { verdict, reason }: Pick<Decision, 'verdict' | 'reason'>,
): RebalancingView {
  return { paused, scaledTo, pinned: [...pinned].sort(), upgrade, verdict, reason, decisions: [...decisions] }
}

/** The journal, sorted by name. */
export function viewMoves(moves: Moves): MoveView[] {
  return [...moves]
    .map(([name, { from, to, why, queuedAt, begunAt, problem }]): MoveView => {
      const phase = begunAt === null ? 'queued' : problem === '' ? 'moving' : 'returning'
      return { name, from, to, phase, why, since: begunAt ?? queuedAt, problem }
    })
    .sort((a, b) => compare(a.name, b.name))
}
