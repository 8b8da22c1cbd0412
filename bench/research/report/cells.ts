/** Cells of a table that show a subject's figure, or say why there is none. */
import type { Run, Subject } from '../../harness/results.ts'
import { DISTURBED_SHARE } from '../../harness/attempts.ts'
import { figure, isFigureDisturbed, whyMissing } from './figures.ts'
import type { Footnotes } from './footnotes.ts'
import { formatPercent, formatSummary, MISSING } from './format.ts'
import type { Metric } from '../../harness/metrics.ts'

/** Which figure. */
export interface Place {
  subject: Subject
  services: number
  metric: Metric
}

export function figureCell(run: Run, place: Place, notes: Footnotes): string {
  const found = figure(run, place.subject, place.services, place.metric)
  return found ? formatSummary(found, place.metric.unit) + disturbanceMark(run, place, notes) : missingCell(run, place, notes)
}

/** To go behind a figure: "" unless a repeat of it was disturbed. */
export function disturbanceMark(run: Run, { subject, services, metric }: Place, notes: Footnotes): string {
  if (!isFigureDisturbed(run, subject, services, metric)) return ''
  return notes.mark(
    `disturbed: more than ${formatPercent(DISTURBED_SHARE)} of the CPU time was stolen during a repeat, and there was no calmer attempt`,
  )
}

/** For a figure that is not there; the reason goes to the notes. */
export function missingCell(run: Run, { subject, services, metric }: Place, notes: Footnotes): string {
  return MISSING + notes.mark(whyMissing(run, subject, services, metric))
}
