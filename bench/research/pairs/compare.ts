/** What turns of equal length say of contenders that took them side by side. Pure. */
import { quantile } from 'simple-statistics'
import { pairedRatios } from '../report/statistics.ts'
import type { Requests } from '../../harness/results.ts'

/** What one contender did in its turn. */
export interface Turn {
  readonly cpuSeconds: number
  readonly requests: Pick<Requests, 'total' | 'perSecond' | 'p99Ms'>
}

export interface Quartiles {
  readonly lower: number
  readonly median: number
  readonly upper: number
}

/** What is compared, of one turn. */
const MEASURES = {
  cpuPerThousand: ({ cpuSeconds, requests }) => (1e6 * cpuSeconds) / requests.total,
  perSecond: ({ requests }) => requests.perSecond,
  p99Ms: ({ requests }) => requests.p99Ms,
} as const satisfies Record<string, (turn: Turn) => number>
export type Measure = keyof typeof MEASURES

/** Of a contender: what it took, and how many times what the first one took in the same round. */
export type Comparison = { readonly title: string } & Readonly<
  Record<Measure, { readonly found: Quartiles; readonly times: Quartiles }>
>

/** Compares each with the first. `turns` has the contenders' turns by their title, each in the order of the rounds. */
export function compare(turns: ReadonlyMap<string, readonly Turn[]>): Comparison[] {
  const [base = []] = turns.values()
  return [...turns].map(([title, own]) => {
    const of = (measure: Measure) => {
      const found = own.map(MEASURES[measure])
      return { found: quartiles(found), times: quartiles(pairedRatios(byRound(found), byRound(base.map(MEASURES[measure])))) }
    }
    return { title, cpuPerThousand: of('cpuPerThousand'), perSecond: of('perSecond'), p99Ms: of('p99Ms') }
  })
}

function byRound(values: readonly number[]): Map<number, number> {
  return new Map(values.map((value, round) => [round, value]))
}

/** Throws when there is nothing to sum up. */
function quartiles(numbers: readonly number[]): Quartiles {
  const [lower = 0, median = 0, upper = 0] = quantile([...numbers], [0.25, 0.5, 0.75])
  return { lower, median, upper }
}
