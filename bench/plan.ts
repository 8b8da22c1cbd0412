/** Which trials a run consists of, and in which order. Pure. */
import type { LoadName } from './results.ts'

/** One trial to come: see TrialPlan. */
export interface Planned {
  readonly subject: string
  readonly services: number
  readonly repeat: number
  readonly loads: readonly LoadName[]
  readonly restart: boolean
  /** Trials that stand side by side in time have the same. */
  readonly round: number
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
  /**
   * The size at which the saturated loads (saturated, connecting) are measured, and nothing else: there, even the dearest subject
   * has CPU left to answer.
   */
  readonly saturation: number
  /** Of the trials at the headline and at saturation; all others run once. */
  readonly repeats: { readonly headline: number; readonly saturation: number }
  readonly loads: readonly LoadName[]
}

/** A subject as the plan sees it. */
export interface Contender {
  readonly key: string
  /** Which of the loads it is of interest with; default all. */
  readonly loads?: readonly LoadName[]
  /** It is not repeated at the headline. */
  readonly once?: true
  /** With fewer services it would be what another subject is already. */
  readonly least?: number
  /** Given: it is a variant of ours, to be tried once: at these many services, or at the headline and at saturation. */
  readonly variant?: { readonly services?: number }
}

/**
 * The trials in their order: what matters most comes first, as a run may be interrupted. What is compared stands side by side in
 * time, and who goes first changes from size to size and from repeat to repeat, so that a machine that slows down slows all alike.
 */
export function planTrials(matrix: Matrix): Planned[] {
  const { subjects, sizes, largeSizes, headline, saturation, repeats } = matrix
  const places = [
    ...upTo(repeats.headline).map((repeat) => ({ services: headline, repeat })),
    ...upTo(repeats.saturation).map((repeat) => ({ services: saturation, repeat, saturated: true })),
    ...sizes.filter((services) => services !== headline).map((services) => ({ services, repeat: 1 })),
  ]
  const throughout = subjects.filter(({ variant }) => variant === undefined)
  const variants = subjects.filter(({ variant }) => variant !== undefined)
  const sizing = new Set(variants.flatMap(({ variant }) => variant?.services ?? []))
  const ours = throughout.filter(({ key }) => key === 'ours')
  const trial = (contender: Contender, services: number, { repeat = 1, saturated = false } = {}) =>
    planned(matrix, contender, { services, repeat, saturated, restart: services === headline || sizing.has(services) })
  const rounds = [
    ...places.map(({ services, ...how }, i) => rotated(throughout, i).flatMap((contender) => trial(contender, services, how))),
    [...new Set([...largeSizes, ...sizing])].flatMap((services) => ours.flatMap((contender) => trial(contender, services))),
    variants.flatMap((contender) =>
      contender.variant?.services === undefined
        ? [...trial(contender, headline), ...trial(contender, saturation, { saturated: true })]
        : trial(contender, contender.variant.services),
    ),
  ]
  return rounds.flatMap((trials, round) => trials.map((each) => ({ ...each, round })))
}

/** Loads that take what there is. */
export const SATURATING: readonly LoadName[] = ['saturated', 'connecting']

interface Place {
  readonly services: number
  readonly repeat: number
  readonly saturated: boolean
  readonly restart: boolean
}

function planned(
  matrix: Matrix,
  contender: Contender,
  { services, repeat, saturated, restart }: Place,
): Omit<Planned, 'round'>[] {
  const wanted = contender.loads ?? matrix.loads
  if (contender.once && repeat > 1 && !saturated) return []
  if (services < (contender.least ?? 0)) return []
  const loads = matrix.loads.filter((load) => wanted.includes(load) && SATURATING.includes(load) === saturated)
  // Others keep no network map to start again from, and some take minutes.
  const restarts = restart && !saturated && (contender.key === 'ours' || contender.variant !== undefined)
  return loads.length > 0 ? [{ subject: contender.key, services, repeat, loads, restart: restarts }] : []
}

/** The whole numbers from 1. */
function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1)
}

function rotated<T>(items: readonly T[], by: number): T[] {
  return items.map((_, i) => items[(i + by) % items.length] as T)
}

/** What `estimateMs` has to know of the durations of a trial. */
export interface Pace {
  readonly coolDownMs: number
  readonly quietMs: number
  readonly quietTimeoutMs: number
  readonly windowMs: Readonly<Record<LoadName, number>>
}

/** How a subject is expected to start. */
export interface ExpectedStart {
  /** Until all its services answer. */
  readonly answeredMs: number
  /** Whether its network map is quiet soon after that, or the wait for it runs into its limit. */
  readonly becomesQuiet: boolean
}

/** About how long the trials take when each is run once. */
export function estimateMs(trials: readonly Planned[], pace: Pace, startOf: (trial: Planned) => ExpectedStart): number {
  return sum(
    trials.map((trial) => {
      const { answeredMs, becomesQuiet } = startOf(trial)
      const quietMs = becomesQuiet ? pace.quietMs : pace.quietTimeoutMs
      const settledMs = becomesQuiet && trial.loads.includes('idle') ? pace.coolDownMs : quietMs
      const windowsMs = sum(trial.loads.map((load) => pace.windowMs[load]))
      return PREPARING_MS + answeredMs + settledMs + windowsMs + (trial.restart ? answeredMs + quietMs : 0)
    }),
  )
}

/** Control plane, client and clearing up, seen on two cores. */
const PREPARING_MS = 4000

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
