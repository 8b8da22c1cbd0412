/** Looks figures up in a run: medians of a subject's repeats at one size, and why one is missing. */
import type { Run, Subject, Trial } from '../../harness/results.ts'
import { isDisturbed } from '../../harness/attempts.ts'
import { type Metric, partOf, type Phase } from '../../harness/metrics.ts'
import { type ByRepeat, pairedRatios, type Scaling, scaling, type Summary, summarize } from './statistics.ts'

/** The size that the investigation is about. */
export const INVESTIGATED_SERVICES = 57

/** Figures of an aborted trial count, too: they were taken before it was given up. */
export function figure(run: Run, subject: Subject, services: number, metric: Metric): Summary | null {
  return summarize(samples(run, subject, services, metric))
}

/** One number a repeat. */
export function samples(run: Run, subject: Subject, services: number, metric: Metric): number[] {
  return [...byRepeat(run, subject, services, metric).values()]
}

/** How many times as large one subject's figure is as another's, a number for each repeat that both have. */
export function ratiosOf(run: Run, [one, other]: readonly [Subject, Subject], services: number, metric: Metric): number[] {
  return pairedRatios(byRepeat(run, one, services, metric), byRepeat(run, other, services, metric))
}

/** Whether a repeat of the figure was measured while too much was stolen, in each attempt at it. */
export function isFigureDisturbed(run: Run, subject: Subject, services: number, metric: Metric): boolean {
  return trialsOf(run, subject, services).some(
    (trial) => metric.of(trial) !== null && isDisturbed(partOf(trial, metric.phase)?.stolenShare ?? null),
  )
}

function byRepeat(run: Run, subject: Subject, services: number, metric: Metric): ByRepeat {
  return new Map(
    trialsOf(run, subject, services).flatMap((trial): [number, number][] => {
      const value = metric.of(trial)
      return value === null ? [] : [[trial.repeat, value]]
    }),
  )
}

/** Growth of the medians over the sizes that were measured. `most`: leave larger sizes out. */
export function growth(run: Run, subject: Subject, metric: Metric, most?: number): Scaling | null {
  const points = sizesOf(run, [subject]).flatMap((services) => {
    const found = figure(run, subject, services, metric)
    return found ? { services, y: found.median } : []
  })
  return scaling(points, most)
}

/** Why there is no figure, for a footnote. */
export function whyMissing(run: Run, subject: Subject, services: number, metric: Metric): string {
  const trials = trialsOf(run, subject, services)
  if (trials.length === 0) return `${subject.title} was not run at ${services} services`
  if (trials.some((trial) => reached(trial, metric.phase))) return `${subject.title}: ${metric.absent}`
  const aborted = trials.flatMap((trial) => trial.aborted ?? [])[0]
  return aborted === undefined
    ? `${subject.title}: ${metric.phase} was not measured at ${services} services`
    : `${subject.title} was aborted at ${services} services: ${aborted}`
}

/** The subjects that are compared: all but variants, ours first. */
export function compared(run: Run): Subject[] {
  const order = ['ours', 'peer', 'floor']
  return run.subjects
    .filter(({ group }) => order.includes(group))
    .toSorted((a, b) => order.indexOf(a.group) - order.indexOf(b.group))
}

/** What everything else is compared with; undefined when only others were run. */
export function oursOf(run: Run): Subject | undefined {
  return run.subjects.find(({ group }) => group === 'ours')
}

/** Sizes at which any of the subjects was run, ascending. */
export function sizesOf(run: Run, subjects: readonly Subject[]): number[] {
  const keys = new Set(subjects.map(({ key }) => key))
  const sizes = run.trials.filter(({ subject }) => keys.has(subject)).map(({ services }) => services)
  return [...new Set(sizes)].sort((a, b) => a - b)
}

/**
 * The size of the headline: 57, or else the largest at which every compared subject was run, or else the largest at which
 * most were. null when nothing was run.
 */
export function headlineSize(run: Run): number | null {
  const subjects = compared(run)
  const sizes = sizesOf(run, subjects)
  if (sizes.includes(INVESTIGATED_SERVICES)) return INVESTIGATED_SERVICES
  const present = (services: number) => subjects.filter((subject) => trialsOf(run, subject, services).length > 0).length
  return sizes.toReversed().toSorted((a, b) => present(b) - present(a))[0] ?? null
}

/**
 * Where a figure is compared: at the headline's size if anybody has it there, else at the largest size at which ours has it
 * (a load may be measured at one size only). null when nobody has it at either.
 */
export function sizeFor(run: Run, metric: Metric): number | null {
  const headline = headlineSize(run)
  const has = (services: number, subjects: readonly Subject[]) =>
    subjects.some((subject) => samples(run, subject, services, metric).length > 0)
  if (headline !== null && has(headline, compared(run))) return headline
  const ours = compared(run).slice(0, 1)
  return sizesOf(run, ours).findLast((services) => has(services, ours)) ?? null
}

/** The trials of one subject at one size: its repeats. */
export function trialsOf(run: Run, subject: Subject, services: number): Trial[] {
  return run.trials.filter((trial) => trial.subject === subject.key && trial.services === services)
}

/** Whether a trial came as far as to measure this part. */
export function reached(trial: Trial, phase: Phase): boolean {
  return partOf(trial, phase) !== undefined
}
