/** Who says where services are: our policy, and what it is compared with. */
import { rebalance, type RebalancePolicy } from '../../../supervisor/core/rebalance.ts'
import { type Fleet, type Move, SHARD_SIZE } from './fleet.ts'
import { Observation, SAMPLE_MS } from './observation.ts'
import { bestPlacement, leastPeak } from './optimum.ts'
import type { Traffic } from './traffic.ts'

/** How often a player is asked. */
export const TICK_MS = 30_000
const HOUR_MS = 3_600_000

/** What moves now. Called at every tick from midnight on; `now` is in ms since then. */
export type Player = (fleet: Fleet, now: number) => readonly Move[]

/** Where services have been placed at first, they stay. */
export const keepStatic: Player = () => []

/** Asks `rebalance` at every tick; it sees only what the supervisor would see. `took` hears how long it thought, in ms. */
export function rebalanced(
  { traffic, seed }: { traffic: Traffic; seed: number },
  policy: RebalancePolicy,
  took: (ms: number) => void = () => undefined,
): Player {
  const observation = new Observation(traffic.services.length, seed)
  const movedAt = new Map<string, number>()
  let recentMoves: number[] = []
  return (fleet, now) => {
    for (let sample = 0; sample < TICK_MS / SAMPLE_MS; sample++) observation.sample(fleet)
    recentMoves = recentMoves.filter((at) => now - at < policy.windowMs)
    const shards = [...fleet.members()].map(([shard, members]) => ({
      shard,
      cpuPercent: observation.shards[shard] ?? null,
      cordoned: false,
      settledAt: fleet.settledAt.get(shard) ?? 0,
      services: members.map((service) => {
        const name = fleet.services[service] ?? ''
        const cpuPercent = observation.services[service] ?? 0
        return {
          name,
          cpuPercent,
          group: '',
          pinned: false,
          ephemeral: false,
          movedAt: movedAt.get(name) ?? Number.NEGATIVE_INFINITY,
        }
      }),
    }))
    const { moves } = timed(() => rebalance({ shards, taken: new Set(), recentMoves }, policy, now), took)
    for (const { name } of moves) {
      movedAt.set(name, now)
      recentMoves.push(now)
    }
    return moves
  }
}

/** Deals all services anew every hour, the busiest first. */
export function roundRobin({ traffic, seed }: { traffic: Traffic; seed: number }): Player {
  const observation = new Observation(traffic.services.length, seed)
  return (fleet, now) => {
    observation.sample(fleet)
    if (now % HOUR_MS !== 0) return []
    const busiestFirst = fleet.deployed.toSorted((a, b) => (observation.services[b] ?? 0) - (observation.services[a] ?? 0))
    const shards = Math.ceil(busiestFirst.length / SHARD_SIZE)
    return busiestFirst.map((service, i) => ({ name: fleet.services[service] ?? '', to: 1 + (i % shards) }))
  }
}

/**
 * Knows what each service will use in the hour that begins, and places all anew for that, in as many shards as it is told.
 * `gap` hears how far above the least possible its busiest shard is: 1 for not at all.
 */
export function optimal(traffic: Traffic, shardsOf: (hour: number) => number, gap: (factor: number) => void): Player {
  return (fleet, now) => {
    if (now % HOUR_MS !== 0) return []
    const loads = hourMeans(traffic, fleet.deployed, now / HOUR_MS)
    const shards = Math.max(shardsOf(now / HOUR_MS), Math.ceil(loads.length / SHARD_SIZE))
    const placed = bestPlacement(loads, shards, SHARD_SIZE)
    const peaks = placed.map((members) => members.reduce((sum, member) => sum + (loads[member] ?? 0), 0))
    gap(Math.max(...peaks) / leastPeak(loads, shards))
    return placed.flatMap((members, i) =>
      members.map((member) => ({ name: fleet.services[fleet.deployed[member] ?? 0] ?? '', to: i + 1 })),
    )
  }
}

function hourMeans(traffic: Traffic, services: readonly number[], hour: number): number[] {
  return services.map((service) => {
    let sum = 0
    for (let minute = 60 * hour; minute < 60 * (hour + 1); minute++) sum += traffic.load(service, minute)
    return sum / 60
  })
}

/** The smaller of elapsed and CPU time: others on the machine lengthen the one, compiler and collector threads the other. */
function timed<T>(work: () => T, took: (ms: number) => void): T {
  const [begun, cpu] = [performance.now(), process.cpuUsage()]
  const result = work()
  took(Math.min(performance.now() - begun, process.cpuUsage(cpu).user / 1000))
  return result
}
