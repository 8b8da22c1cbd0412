/**
 * Guards: what is done about a worker that has too much memory, and what the operator is told of it. Pure.
 *
 * Memory that a process has taken is given back only with the process. So the services of a worker that stays above the limit
 * move to a worker of a new shard, one by one as in any move, and the old worker ends when the last has left.
 */
import type { Decision, DecisionRecord, PlannedMove } from '../../shared/api.ts'
import { lastingBytes } from './memory.ts'
import { isAnswering, primaryWorkers } from './reconcile.ts'
import { freshShard } from './shardNumbers.ts'
import { freshUsage } from './situation.ts'
import type { Desired, Observed, ObservedWorker, Rebalancing } from './types.ts'
import { REPLACED_AT_A_TIME, REST_AFTER_MOVE_MS, RIPE_MS } from './tuning.ts'

export interface GuardPolicy {
  /** Most resident memory of a worker; 0 for no limit. */
  readonly memoryLimitBytes: number
  /** Most services of a shard. */
  readonly shardSize: number
}

/** Replaces one worker that has outgrown its memory, or goes on with one; null when there is none. `taken`: see takenNumbers. */
export function guardMemory(
  desired: Desired,
  observed: Observed,
  { decisions, movedAt }: Pick<Rebalancing, 'decisions' | 'movedAt'>,
  policy: GuardPolicy,
  taken: ReadonlySet<number>,
  now: number,
): Decision | null {
  if (policy.memoryLimitBytes === 0) return null
  const shards = [...primaryWorkers(observed.workers.values()).values()].filter(isAnswering)
  const isBegun = (worker: ObservedWorker) => begunReplacement(decisions, worker) !== undefined
  const grown = shards.filter((worker) => isBegun(worker) || isTooBig(worker, policy, now))
  for (const worker of grown.sort((a, b) => Number(isBegun(b)) - Number(isBegun(a)) || lastingOf(b) - lastingOf(a))) {
    const names = [...desired.services].filter(([, { shard }]) => shard === worker.shard).map(([name]) => name)
    const movable = names.filter((name) => now - (movedAt.get(name) ?? 0) >= REST_AFTER_MOVE_MS).slice(0, REPLACED_AT_A_TIME)
    if (movable.length === 0) continue
    const to = targetOf(worker, desired, decisions, policy) ?? freshShard(taken)
    const room = policy.shardSize - countOf(desired, to)
    const moves = movable.slice(0, room).map((name): PlannedMove => ({ name, from: worker.shard, to }))
    const reason =
      `the worker of shard ${String(worker.shard)} has ${mebibytes(lastingOf(worker))}, ` +
      `the limit is ${mebibytes(policy.memoryLimitBytes)}: its services move to a new one`
    return { verdict: 'replace', reason, moves, expected: [] }
  }
  return null
}

/** What is wrong with a worker's memory, for the operator. */
export function memoryProblems({ shard, memory, services, since }: ObservedWorker, { memoryLimitBytes }: GuardPolicy): string[] {
  const problems: string[] = []
  if (memoryLimitBytes > 0 && lastingBytes(memory) > memoryLimitBytes) {
    // Without the amount: this is told anew whenever it changes.
    problems.push(
      `Its ${String(services.size)} services take more than memoryLimit, ${mebibytes(memoryLimitBytes)}. The worker is replaced ` +
        `when it has run for an hour, from ${new Date(since + RIPE_MS).toISOString()} on. If that does not help, the limit is ` +
        'too low for so many services: raise it, or lower shardSize.',
    )
  }
  if (memory.growth) {
    const { bytesPerHour, since: from } = memory.growth
    problems.push(
      `Its memory has grown by ${mebibytes(bytesPerHour)} an hour since ${new Date(from).toISOString()}, with the same number ` +
        `of services: it leaks. "tsnsrv-sup drain ${String(shard)}" moves its services to others; memoryLimit replaces it in time.`,
    )
  }
  return problems
}

function isTooBig(worker: ObservedWorker, { memoryLimitBytes }: GuardPolicy, now: number): boolean {
  return freshUsage(worker, now) !== null && now - worker.since >= RIPE_MS && lastingOf(worker) > memoryLimitBytes
}

/** The decision by which this very process began to be replaced. */
function begunReplacement(decisions: readonly DecisionRecord[], worker: ObservedWorker): DecisionRecord | undefined {
  return decisions.find(
    ({ verdict, moves, at }) => verdict === 'replace' && at > worker.since && moves.some(({ from }) => from === worker.shard),
  )
}

/** Where the others have gone, while there is room; undefined for a shard that does not exist yet. */
function targetOf(
  worker: ObservedWorker,
  desired: Desired,
  decisions: readonly DecisionRecord[],
  { shardSize }: GuardPolicy,
): number | undefined {
  const begun = begunReplacement(decisions, worker)?.moves[0]?.to
  return begun !== undefined && countOf(desired, begun) > 0 && countOf(desired, begun) < shardSize ? begun : undefined
}

const countOf = (desired: Desired, shard: number) =>
  [...desired.services.values()].filter((service) => service.shard === shard).length
const lastingOf = ({ memory }: ObservedWorker) => lastingBytes(memory)
const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MiB`
