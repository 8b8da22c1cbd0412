/**
 * Numbers of shards: the one place where a new shard gets its number. A cordoned number stands for the shard that was cordoned
 * until that shard has ended, and the number of a living worker for that worker, its log and its metrics. So neither is given to
 * another shard. Pure.
 */
import type { Observed, Remembered } from './types.ts'

/** The numbers that a new shard must not get: of shards that exist, are about to, are cordoned, or have a worker that lives. */
export function takenNumbers(
  { placement, moves, rebalancing, culprits }: Pick<Remembered, 'placement' | 'moves' | 'rebalancing' | 'culprits'>,
  { workers }: Pick<Observed, 'workers'>,
): ReadonlySet<number> {
  return new Set([
    ...placement.values(),
    ...[...moves.values()].flatMap(({ from, to }) => [from, to]),
    ...rebalancing.cordoned,
    ...culprits.suspects.keys(),
    ...[...workers.values()].map(({ shard }) => shard),
  ])
}

/** The number of a new shard: the lowest that is not taken. */
export function freshShard(taken: ReadonlySet<number>): number {
  let shard = 1
  while (taken.has(shard)) shard++
  return shard
}
