/** Which trials a run consists of, and in which order. Pure. */
import type { LoadName } from './results.ts'

/** One trial to come: see TrialPlan. */
export interface Planned {
  readonly subject: string
  readonly services: number
  readonly repeat: number
  readonly loads: readonly LoadName[]
  readonly restart: boolean
}

/** What is compared where. */
export interface Matrix {
  readonly subjects: readonly Contender[]
  /** All are tried at these, but for those that are for the headline only. */
  readonly sizes: readonly number[]
  /** Ours alone is tried at these as well. */
  readonly largeSizes: readonly number[]
  /** The size of the headline, where restarts are measured. */
  readonly headline: number
  /** Of the trials at the headline; all others run once. */
  readonly repeats: number
  readonly loads: readonly LoadName[]
}

/** A subject as the plan sees it. */
interface Contender {
  readonly key: string
  /** Given: it runs at the headline only, once, and with these loads. */
  readonly headlineLoads?: readonly LoadName[]
}

/**
 * The trials in their order. What is compared stands side by side in time, and who goes first changes from size to size and
 * from repeat to repeat, so that a machine that slows down slows all alike.
 */
export function planTrials(matrix: Matrix): Planned[] {
  const rounds = [
    ...matrix.sizes.map((services) => ({ services, repeat: 1 })),
    ...Array.from({ length: matrix.repeats - 1 }, (_, i) => ({ services: matrix.headline, repeat: i + 2 })),
  ]
  const throughout = matrix.subjects.filter(({ headlineLoads }) => headlineLoads === undefined)
  return [
    ...rounds.flatMap(({ services, repeat }, round) =>
      rotated(throughout, round).flatMap(({ key }) => planned(matrix, key, services, repeat)),
    ),
    ...matrix.largeSizes.flatMap((services) =>
      throughout.some(({ key }) => key === 'ours') ? planned(matrix, 'ours', services, 1) : [],
    ),
    ...matrix.subjects.flatMap(({ key, headlineLoads }) =>
      headlineLoads ? planned(matrix, key, matrix.headline, 1, headlineLoads) : [],
    ),
  ]
}

function planned(matrix: Matrix, subject: string, services: number, repeat: number, wanted = matrix.loads): Planned[] {
  const loads = wanted.filter((load) => matrix.loads.includes(load))
  return loads.length > 0 ? [{ subject, services, repeat, loads, restart: services === matrix.headline }] : []
}

function rotated<T>(items: readonly T[], by: number): T[] {
  return items.map((_, i) => items[(i + by) % items.length] as T)
}

/** What `estimateMs` has to know of the durations of a trial. */
export interface Pace {
  readonly coolDownMs: number
  readonly quietMs: number
  readonly windowMs: Readonly<Record<LoadName, number>>
}

/** About how long the trials take; `startMs` tells how long a subject needs to be up. */
export function estimateMs(
  trials: readonly Planned[],
  pace: Pace,
  startMs: (subject: string, services: number) => number,
): number {
  return sum(
    trials.map(({ subject, services, loads, restart }) => {
      const start = startMs(subject, services)
      const settled = loads.includes('idle') ? Math.max(pace.coolDownMs, pace.quietMs) : pace.quietMs
      return (
        PREPARING_MS + start + settled + sum(loads.map((load) => pace.windowMs[load])) + (restart ? start + 2 * pace.quietMs : 0)
      )
    }),
  )
}

/** Control plane, client and clearing up, seen on two cores. */
const PREPARING_MS = 8000

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
