/** The arithmetic of the report. Pure; the formulas themselves are simple-statistics'. */
import { linearRegression, linearRegressionLine, median, medianAbsoluteDeviation, rSquared } from 'simple-statistics'

/** Repeats of one measurement, in the unit of the measurement. */
export interface Summary {
  median: number
  min: number
  max: number
  /** Median absolute deviation from the median, not scaled to a standard deviation (Hampel 1974): robust against one bad repeat. */
  deviation: number
  repeats: number
}

/** What repeats say together; null when there are none. */
export function summarize(samples: readonly number[]): Summary | null {
  if (samples.length === 0) return null
  const numbers = [...samples]
  return {
    median: median(numbers),
    min: Math.min(...numbers),
    max: Math.max(...numbers),
    deviation: medianAbsoluteDeviation(numbers),
    repeats: numbers.length,
  }
}

/** Numbers by the repeat that they are from. */
export type ByRepeat = ReadonlyMap<number, number>

/**
 * How many times as large a number is as another of the same repeat, in the order of the repeats. What was measured side by
 * side in time had the same machine, which may be another one an hour later. Empty when a denominator is 0: no ratio says
 * anything then.
 */
export function pairedRatios(numerators: ByRepeat, denominators: ByRepeat): number[] {
  const repeats = [...numerators.keys()].filter((repeat) => denominators.has(repeat)).toSorted((a, b) => a - b)
  const ratios = repeats.map((repeat) => (numerators.get(repeat) ?? 0) / (denominators.get(repeat) ?? 0))
  return ratios.every(Number.isFinite) ? ratios : []
}

/** Whether the ranges of two summaries have a value in common: their difference may be chance then. */
export function overlap(a: Summary, b: Summary): boolean {
  return a.min <= b.max && b.min <= a.max
}

/** y = constant * N^exponent, as near as a power of N comes. */
export interface Scaling {
  exponent: number
  /** Share of the variance of log(y) that the power explains, 0..1: near 1, the power describes the points well. */
  rSquared: number
  points: number
}

/** Fewer points say nothing of how well a line fits them: two always fit. */
const FEWEST_POINTS = 3

/** Below this a fixed cost (runtime, supervisor) hides what each service adds. */
const FEWEST_SERVICES = 10

/**
 * The exponent of growth: the slope of the ordinary least-squares line through (log N, log y), for y = c * N^k is
 * log y = log c + k * log N. Only N from 10 to `most` and y > 0 count. null with fewer than three different N.
 */
export function scaling(points: readonly { services: number; y: number }[], most = Infinity): Scaling | null {
  const logs = points
    .filter(({ services, y }) => services >= FEWEST_SERVICES && services <= most && y > 0)
    .map(({ services, y }) => [Math.log(services), Math.log(y)])
  if (new Set(logs.map(([x]) => x)).size < FEWEST_POINTS) return null
  const line = linearRegression(logs)
  return { exponent: line.m, rSquared: rSquared(logs, linearRegressionLine(line)), points: logs.length }
}
