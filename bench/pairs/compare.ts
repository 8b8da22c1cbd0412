/** What turns of equal length say of contenders that took them side by side. Pure. */
import { quantile } from 'simple-statistics'
import { pairedRatios } from '../report/statistics.ts'

/** What one contender did in its turn. */
export interface Turn {
  readonly cpuSeconds: number
  readonly requests: number
}

export interface Quartiles {
  readonly lower: number
  readonly median: number
  readonly upper: number
}

/** Of a contender, beside the first one in the same round. */
export interface Comparison {
  readonly title: string
  /** Of its turns, in ms. */
  readonly cpuPerThousand: Quartiles
  /** How many times the first one's CPU per request it took. */
  readonly cpuRatio: Quartiles
  /** How many times the first one's requests it answered. */
  readonly requestsRatio: Quartiles
}

/** Compares each with the first. `turns` has the contenders' turns by their title, each in the order of the rounds. */
export function compare(turns: ReadonlyMap<string, readonly Turn[]>): Comparison[] {
  const [base = []] = turns.values()
  return [...turns].map(([title, own]) => {
    const ratios = (of: (turn: Turn) => number) => quartiles(pairedRatios(byRound(own, of), byRound(base, of)))
    return {
      title,
      cpuPerThousand: quartiles(own.map(cpuPerThousand)),
      cpuRatio: ratios(cpuPerThousand),
      requestsRatio: ratios(({ requests }) => requests),
    }
  })
}

function byRound(turns: readonly Turn[], of: (turn: Turn) => number): Map<number, number> {
  return new Map(turns.map((turn, round) => [round, of(turn)]))
}

function cpuPerThousand({ cpuSeconds, requests }: Turn): number {
  return (1e6 * cpuSeconds) / requests
}

/** Throws when there is nothing to sum up. */
function quartiles(numbers: readonly number[]): Quartiles {
  const [lower = 0, median = 0, upper = 0] = quantile([...numbers], [0.25, 0.5, 0.75])
  return { lower, median, upper }
}
