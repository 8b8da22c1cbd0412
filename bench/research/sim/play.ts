/** Plays one day with one player, and keeps score. */
import { defaultRebalancing } from '../../../supervisor/core/rebalance.ts'
import { Fleet, SHARD_SIZE, WORKER_PERCENT } from './fleet.ts'
import { type Player, TICK_MS } from './players.ts'
import { MINUTES, type Traffic } from './traffic.ts'

const TICKS_PER_MINUTE = 60_000 / TICK_MS
const TICKS = MINUTES * TICKS_PER_MINUTE
const QUARTERS = 24 * 4

/** At one moment, or the mean of many. */
export interface Balance {
  /** CPU of the busiest shard, per cent of one core. */
  busiest: number
  /**
   * Points of a core above what is level, summed over the shards: above the mean if there were as few shards as possible, and
   * above the cold threshold, below which nobody is to do anything.
   */
  imbalance: number
  shards: number
}

export interface Score extends Balance {
  /** The least that any placement into as many shards could have had at each moment. */
  readonly least: Omit<Balance, 'shards'>
  /** Shard-minutes above the hot threshold, in the whole day. */
  readonly hotMinutes: number
  readonly movesPerServiceHour: number
  /** Means of each quarter of an hour. */
  readonly quarters: readonly Balance[]
}

/** Thresholds are the defaults for every player: what is hot does not depend on who is asked. */
const { hotPercent, coldPercent } = defaultRebalancing

export function play(traffic: Traffic, player: Player): Score {
  const fleet = new Fleet(traffic)
  const quarters = Array.from({ length: QUARTERS }, (): Balance => ({ busiest: 0, imbalance: 0, shards: 0 }))
  const least = { busiest: 0, imbalance: 0 }
  let hotTicks = 0
  for (let tick = 0; tick < TICKS; tick++) {
    if (tick % TICKS_PER_MINUTE === 0) fleet.enter(tick / TICKS_PER_MINUTE)
    // A move takes a second, so the next sample sees it.
    fleet.carryOut(player(fleet, tick * TICK_MS), tick * TICK_MS + 1000)
    const loads = [...fleet.shardLoads(fleet.loads)].filter((load) => load > 0)
    const total = loads.reduce((sum, load) => sum + load, 0)
    const level = Math.max(coldPercent, total / Math.ceil(fleet.deployed.length / SHARD_SIZE))
    const services = fleet.deployed.map((service) => (fleet.loads[service] ?? 0) + WORKER_PERCENT)
    const quarter = quarters[Math.floor((tick * QUARTERS) / TICKS)]
    if (quarter) addTo(quarter, { busiest: most(loads), imbalance: above(loads, level), shards: loads.length }, QUARTERS / TICKS)
    addTo(least, { busiest: Math.max(total / loads.length, most(services)), imbalance: above(services, level) }, 1 / TICKS)
    hotTicks += loads.filter((load) => load > hotPercent).length
  }
  const balance = { busiest: 0, imbalance: 0, shards: 0 }
  for (const quarter of quarters) addTo(balance, quarter, 1 / QUARTERS)
  return {
    ...balance,
    least,
    hotMinutes: hotTicks / TICKS_PER_MINUTE,
    movesPerServiceHour: fleet.moves / fleet.deployed.length / 24,
    quarters,
  }
}

/** Adds a part of each figure, for a mean. */
function addTo<K extends string>(sum: Record<K, number>, figures: Record<K, number>, part: number): void {
  for (const key of Object.keys(sum) as K[]) sum[key] += figures[key] * part
}

const most = (loads: readonly number[]) => loads.reduce((highest, load) => Math.max(highest, load), 0)

const above = (loads: readonly number[], level: number) => loads.reduce((sum, load) => sum + Math.max(0, load - level), 0)
