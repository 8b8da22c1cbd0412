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
  /** What is compared throughout is tried at these. */
  readonly sizes: readonly number[]
  /** Ours alone is tried at these as well. */
  readonly largeSizes: readonly number[]
  /** The size of the headline, where restarts are measured. */
  readonly headline: number
  /** The size at which the saturated load is measured, and nothing else: there, even the dearest subject has CPU left to answer. */
  readonly saturation: number
  /** Of the trials at the headline and at saturation; all others run once. */
  readonly repeats: number
  readonly loads: readonly LoadName[]
  /** For a quick run: some peers take minutes to come back. */
  readonly onlyOursRestarts: boolean
}

/** A subject as the plan sees it. */
export interface Contender {
  readonly key: string
  /** Which of the loads it is of interest with; default all. */
  readonly loads?: readonly LoadName[]
  /** Given: it is a variant of ours, to be tried once: at these many services, or at the headline and at saturation. */
  readonly variant?: { readonly services?: number }
}

/**
 * The trials in their order. What is compared stands side by side in time, and who goes first changes from size to size and
 * from repeat to repeat, so that a machine that slows down slows all alike.
 */
export function planTrials(matrix: Matrix): Planned[] {
  const { subjects, sizes, largeSizes, headline, saturation, repeats } = matrix
  const again = Array.from({ length: repeats - 1 }, (_, i) => i + 2)
  const rounds = [
    ...sizes.map((services) => ({ services, repeat: 1 })),
    ...again.map((repeat) => ({ services: headline, repeat })),
    ...[1, ...again].map((repeat) => ({ services: saturation, repeat, saturated: true })),
  ]
  const throughout = subjects.filter(({ variant }) => variant === undefined)
  const variants = subjects.filter(({ variant }) => variant !== undefined)
  const sizing = new Set(variants.flatMap(({ variant }) => variant?.services ?? []))
  const ours = throughout.filter(({ key }) => key === 'ours')
  const trial = (contender: Contender, services: number, { repeat = 1, saturated = false } = {}) =>
    planned(matrix, contender, { services, repeat, saturated, restart: services === headline || sizing.has(services) })
  return [
    ...rounds.flatMap(({ services, ...how }, round) =>
      rotated(throughout, round).flatMap((contender) => trial(contender, services, how)),
    ),
    ...[...new Set([...largeSizes, ...sizing])].flatMap((services) => ours.flatMap((contender) => trial(contender, services))),
    ...variants.flatMap((contender) =>
      contender.variant?.services === undefined
        ? [...trial(contender, headline), ...trial(contender, saturation, { saturated: true })]
        : trial(contender, contender.variant.services),
    ),
  ]
}

interface Place {
  readonly services: number
  readonly repeat: number
  readonly saturated: boolean
  readonly restart: boolean
}

function planned(matrix: Matrix, contender: Contender, { services, repeat, saturated, restart }: Place): Planned[] {
  const wanted = contender.loads ?? matrix.loads
  const loads = matrix.loads.filter((load) => wanted.includes(load) && (load === 'saturated') === saturated)
  const restarts = restart && !saturated && (contender.key === 'ours' || !matrix.onlyOursRestarts)
  return loads.length > 0 ? [{ subject: contender.key, services, repeat, loads, restart: restarts }] : []
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
