/**
 * What rebalancing needs of the past and of the operator, and the picture of the present that it decides on. Pure.
 */
import type { Decision, DecisionRecord, MoveView, RebalancingView } from '../../shared/api.ts'
import { shareCPU } from './loads.ts'
import type { EndedMove } from './moves.ts'
import { compare, lowestFree, place } from './placement.ts'
import type { LoadedShard, Snapshot } from './rebalance.ts'
import { primaryWorkers } from './reconcile.ts'
import type { Desired, Moves, Observed, ObservedWorker, Rebalancing } from './types.ts'

const MOST_DECISIONS = 50

/** What was sampled longer ago decides nothing. */
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

/** What the worker uses; null when that is not known, or is too old to decide on. */
export function freshUsage({ usage }: ObservedWorker, now: number): ObservedWorker['usage'] {
  return usage && now - usage.at <= FRESH_MS ? usage : null
}

/** The worker's CPU, if it says something about how its services stand now. */
function measuredCPU(worker: ObservedWorker | undefined, names: readonly string[], now: number): number | null {
  if (worker?.phase !== 'ready' || worker.calls.size > 0) return null
  const restless = names.some((name) => {
    const phase = worker.services.get(name)?.phase
    return phase === undefined || phase === 'standby' || phase === 'starting' || phase === 'draining'
  })
  return restless ? null : (freshUsage(worker, now)?.cpuPercent ?? null)
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
  if (latest?.measured !== null) return rebalancing
  const found = latest.expected.map(({ shard }) => shards.find((candidate) => candidate.shard === shard))
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

/** What the operator wants to see of it. */
export function viewRebalancing(
  { paused, scaledTo, upgrade, decisions }: Rebalancing,
  { verdict, reason }: Pick<Decision, 'verdict' | 'reason'>,
): RebalancingView {
  return { paused, scaledTo, upgrade, verdict, reason, decisions: [...decisions] }
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

/** An order that cannot be carried out, in words for whoever gave it. */
export class OrderError extends Error {
  override readonly name = 'OrderError'
}

/** Where one service is to go by the operator's word. Throws OrderError. */
export function orderMove(
  { shards }: Snapshot,
  name: string,
  to: number | 'new',
  { shardSize }: { shardSize: number },
): Decision {
  const source = shards.find(({ services }) => services.some((service) => service.name === name))
  if (!source) throw new OrderError(`there is no service ${name}`)
  const target = to === 'new' ? lowestFree(shards.map(({ shard }) => shard)) : to
  if (target === source.shard) throw new OrderError(`${name} is in shard ${String(target)} already`)
  const there = shards.find(({ shard }) => shard === target)
  if (!there && to !== 'new') {
    throw new OrderError(
      `there is no shard ${String(to)}; there are ${shards.map(({ shard }) => String(shard)).join(', ')}, and "new"`,
    )
  }
  if (there && there.services.length >= shardSize) {
    throw new OrderError(
      `shard ${String(target)} is full: it has ${String(there.services.length)} of ${String(shardSize)} services`,
    )
  }
  return manual(`moved by the operator`, [{ name, from: source.shard, to: target }])
}

/** Where the services of a shard are to go, so that it ends. It has to be closed already. Throws OrderError. */
export function orderDrain({ shards }: Snapshot, shard: number, { shardSize }: { shardSize: number }): Decision {
  const source = shards.find((candidate) => candidate.shard === shard)
  if (!source)
    throw new OrderError(`there is no shard ${String(shard)}; there are ${shards.map((known) => String(known.shard)).join(', ')}`)
  const all = shards.flatMap(({ services }) =>
    services.map(({ name, cpuPercent, group }) => ({ name, weight: cpuPercent, group })),
  )
  const rest = new Map(
    shards.filter((other) => other !== source).flatMap(({ shard: id, services }) => services.map(({ name }) => [name, id])),
  )
  const closed = new Set(shards.filter(({ cordoned }) => cordoned).map(({ shard: id }) => id)).add(shard)
  const placement = place(all, rest, { shardSize, closed })
  const moves = source.services.map(({ name }) => ({ name, from: shard, to: placement.get(name) ?? shard }))
  return manual(`shard ${String(shard)} is drained by the operator`, moves)
}

const manual = (reason: string, moves: Decision['moves']): Decision => ({ verdict: 'manual', reason, moves, expected: [] })
