/** Which service is in which shard at one moment of the simulated day, and what each uses. */
import { place } from '../../../supervisor/core/placement.ts'
import { defaultRebalancing } from '../../../supervisor/core/rebalance.ts'
import type { PlannedMove } from '../../../shared/api.ts'
import type { Traffic } from './traffic.ts'

export const SHARD_SIZE = defaultRebalancing.shardSize
/** What a worker uses by itself, per cent of one core. */
export const WORKER_PERCENT = 1

/** What a player says of a service. */
export type Move = Pick<PlannedMove, 'name' | 'to'>

export class Fleet {
  readonly services: readonly string[]
  /** Per cent of one core, by number of the service. */
  readonly loads: Float64Array
  /** Numbers of the services that are deployed. */
  deployed: readonly number[] = []
  /** How often a service has changed its shard. */
  moves = 0
  /** When something was last moved or placed in a shard, ms since midnight. */
  readonly settledAt = new Map<number, number>()
  readonly #traffic: Traffic
  readonly #numbers: ReadonlyMap<string, number>
  readonly #shardOf: Int32Array

  constructor(traffic: Traffic) {
    this.#traffic = traffic
    this.services = traffic.services
    this.loads = new Float64Array(traffic.services.length)
    this.#shardOf = new Int32Array(traffic.services.length)
    this.#numbers = new Map(traffic.services.map((name, i) => [name, i]))
  }

  /** Loads and deployments of the minute. Who is new is placed as the supervisor places it. */
  enter(minute: number): void {
    let changed = false
    for (let i = 0; i < this.loads.length; i++) {
      this.loads[i] = this.#traffic.load(i, minute)
      changed ||= this.#traffic.isDeployed(i, minute) !== this.shardOf(i) > 0
    }
    if (changed) this.#deploy(minute)
  }

  shardOf(service: number): number {
    return this.#shardOf[service] ?? 0
  }

  carryOut(moves: readonly Move[], now: number): void {
    for (const { name, to } of moves) {
      const service = this.#numbers.get(name) ?? 0
      const from = this.shardOf(service)
      if (from === to) continue
      this.#shardOf[service] = to
      this.moves++
      for (const shard of [from, to]) this.settledAt.set(shard, now)
    }
  }

  /** Services of each shard that has any. */
  members(): Map<number, number[]> {
    const members = new Map<number, number[]>()
    for (const service of this.deployed) {
      const known = members.get(this.shardOf(service))
      if (known) known.push(service)
      else members.set(this.shardOf(service), [service])
    }
    return members
  }

  /** CPU of each shard if services use this much; by its number, 0 where there is none. */
  shardLoads(loads: Float64Array): Float64Array {
    const sums = new Float64Array(1 + this.deployed.reduce((most, service) => Math.max(most, this.shardOf(service)), 0))
    for (const service of this.deployed) {
      const shard = this.shardOf(service)
      if (sums[shard] === 0) sums[shard] = WORKER_PERCENT
      sums[shard] = (sums[shard] ?? 0) + (loads[service] ?? 0)
    }
    return sums
  }

  #deploy(minute: number): void {
    const now = minute * 60_000
    this.deployed = this.services.flatMap((_, i) => (this.#traffic.isDeployed(i, minute) ? [i] : []))
    const before = new Map(this.services.map((name, i) => [name, this.shardOf(i)] as const).filter(([, shard]) => shard > 0))
    const placed = place(
      this.deployed.map((i) => ({ name: this.services[i] ?? '', weight: 1, group: '' })),
      before,
      { shardSize: SHARD_SIZE },
    )
    for (const [i, name] of this.services.entries()) {
      const shard = placed.get(name) ?? 0
      if (shard !== this.shardOf(i)) this.settledAt.set(shard, now)
      this.#shardOf[i] = shard
    }
  }
}
