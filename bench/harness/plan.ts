/** Which trials a run consists of, and in which order. Pure. */
import { isWarmedUp } from './loads.ts'
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
  readonly scope?: Scope
}

/** What a subject is of interest for, where that is less than everything. */
export interface Scope {
  readonly loads?: readonly LoadName[]
  /** With fewer services it would be what another subject is already. */
  readonly least?: number
  /** How often it is tried at most. */
  readonly most?: Partial<Readonly<Record<PlaceKind, number>>>
  /** Given: it is a variant of ours, to be tried once: at these many services, or at the headline and at saturation. */
  readonly variant?: { readonly services?: number }
}

/** What a number of services is tried for; `size`: to see how cost grows. */
type PlaceKind = 'headline' | 'saturation' | 'size'

/**
 * The trials in their order: what matters most comes first, as a run may be interrupted. What is compared stands side by side in
 * time, and who goes first changes from size to size and from repeat to repeat, so that a machine that slows down slows all alike.
 */
export function planTrials(matrix: Matrix): Planned[] {
  const { subjects, sizes, largeSizes, headline, saturation, repeats } = matrix
  const at = (kind: PlaceKind, services: number, repeat = 1): Place => ({ kind, services, repeat })
  const places = [
    ...upTo(repeats.headline).map((repeat) => at('headline', headline, repeat)),
    ...upTo(repeats.saturation).map((repeat) => at('saturation', saturation, repeat)),
    ...sizes.filter((services) => services !== headline).map((services) => at('size', services)),
  ]
  const throughout = subjects.filter(({ scope }) => scope?.variant === undefined)
  const variants = subjects.filter(({ scope }) => scope?.variant !== undefined)
  const sizing = new Set(variants.flatMap(({ scope }) => scope?.variant?.services ?? []))
  const ours = throughout.filter(({ key }) => key === 'ours')
  const trials = (contender: Contender, place: Place) =>
    planned(matrix, contender, place, place.kind === 'headline' || sizing.has(place.services))
  const rounds = [
    ...places.map((place, i) => rotated(throughout, i).flatMap((contender) => trials(contender, place))),
    [...new Set([...largeSizes, ...sizing])].flatMap((services) =>
      ours.flatMap((contender) => trials(contender, at('size', services))),
    ),
    variants.flatMap((contender) => {
      const services = contender.scope?.variant?.services
      const own = services === undefined ? [at('headline', headline), at('saturation', saturation)] : [at('size', services)]
      return own.flatMap((place) => trials(contender, place))
    }),
  ]
  return rounds.flatMap((each, round) => each.map((trial) => ({ ...trial, round })))
}

/** Loads that take what there is. */
export const SATURATING: readonly LoadName[] = ['saturated', 'connecting']

interface Place {
  readonly kind: PlaceKind
  readonly services: number
  readonly repeat: number
}

function planned(
  { loads: all }: Matrix,
  { key, scope = {} }: Contender,
  { kind, services, repeat }: Place,
  comparesRestarts: boolean,
): Omit<Planned, 'round'>[] {
  if (services < (scope.least ?? 0) || repeat > (scope.most?.[kind] ?? Infinity)) return []
  const saturated = kind === 'saturation'
  const loads = all.filter((load) => (scope.loads ?? all).includes(load) && SATURATING.includes(load) === saturated)
  // Others keep no network map to start again from, and some take minutes.
  const restart = comparesRestarts && !saturated && (key === 'ours' || scope.variant !== undefined)
  return loads.length > 0 ? [{ subject: key, services, repeat, loads, restart }] : []
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
  readonly warmUpMs: number
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
      const windowsMs = sum(trial.loads.map((load) => (isWarmedUp(load) ? pace.warmUpMs : 0) + pace.windowMs[load]))
      return PREPARING_MS + answeredMs + settledMs + windowsMs + (trial.restart ? answeredMs + quietMs : 0)
    }),
  )
}

/** Control plane, client and clearing up, seen on two cores. */
const PREPARING_MS = 4000

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
