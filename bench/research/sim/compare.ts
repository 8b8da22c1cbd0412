/** All players on the same days. */
import { quantile } from 'simple-statistics'
import { defaultRebalancing, type RebalancePolicy } from '../../../supervisor/core/rebalance.ts'
import { play, type Score } from './play.ts'
import { keepStatic, optimal, rebalanced, roundRobin } from './players.ts'
import { makeTraffic } from './traffic.ts'

/** With few services a single day is luck: so many services x days are played at least. */
const FEWEST_SERVICE_DAYS = 200

export interface Comparison {
  readonly services: number
  readonly days: number
  readonly ours: Score
  readonly optimum: Score
  readonly static: Score
  readonly roundRobin: Score
  /** How far the optimum's busiest shard is above the least possible for the means of the hour; 1 for not at all. */
  readonly optimumGap: number
  /** Milliseconds of our decisions. */
  readonly decision: { readonly median: number; readonly p99: number; readonly max: number }
}

export function compare(services: number, seed: number): Comparison {
  const decisions: number[] = []
  const gaps: number[] = []
  const days = daysOf(services, seed).map((day) => {
    const ours = play(
      day.traffic,
      rebalanced(day, defaultRebalancing, (ms) => decisions.push(ms)),
    )
    const shardsOf = (hour: number) =>
      Math.round(ours.quarters.slice(4 * hour, 4 * hour + 4).reduce((sum, { shards }) => sum + shards / 4, 0))
    return {
      ours,
      optimum: play(
        day.traffic,
        optimal(day.traffic, shardsOf, (gap) => gaps.push(gap)),
      ),
      static: play(day.traffic, keepStatic),
      roundRobin: play(day.traffic, roundRobin(day)),
    }
  })
  return {
    services,
    days: days.length,
    ours: mean(days.map(({ ours }) => ours)),
    optimum: mean(days.map(({ optimum }) => optimum)),
    static: mean(days.map((day) => day.static)),
    roundRobin: mean(days.map((day) => day.roundRobin)),
    optimumGap: gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length,
    decision: { median: quantile(decisions, 0.5), p99: quantile(decisions, 0.99), max: quantile(decisions, 1) },
  }
}

/** Our policy with some of its settings changed. */
export function playVariant(services: number, seed: number, changes: Partial<RebalancePolicy>): Score {
  return mean(daysOf(services, seed).map((day) => play(day.traffic, rebalanced(day, { ...defaultRebalancing, ...changes }))))
}

function daysOf(services: number, seed: number) {
  return Array.from({ length: Math.ceil(FEWEST_SERVICE_DAYS / services) }, (_, day) => ({
    traffic: makeTraffic(services, seed + day),
    seed: seed + day,
  }))
}

/** Means over days; the course of the day is the first one's. */
function mean(scores: readonly Score[]): Score {
  const of = (figure: (score: Score) => number) => scores.reduce((sum, score) => sum + figure(score), 0) / scores.length
  return {
    busiest: of(({ busiest }) => busiest),
    imbalance: of(({ imbalance }) => imbalance),
    shards: of(({ shards }) => shards),
    least: { busiest: of(({ least }) => least.busiest), imbalance: of(({ least }) => least.imbalance) },
    hotMinutes: of(({ hotMinutes }) => hotMinutes),
    movesPerServiceHour: of(({ movesPerServiceHour }) => movesPerServiceHour),
    quarters: scores[0]?.quarters ?? [],
  }
}
