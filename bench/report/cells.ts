/** Cells of a table that show a subject's figure, or say why there is none. */
import type { Run, Subject } from '../results.ts'
import { figure, whyMissing } from './figures.ts'
import type { Footnotes } from './footnotes.ts'
import { formatSummary, MISSING } from './format.ts'
import type { Metric } from './metrics.ts'

/** Which figure. */
export interface Place {
  subject: Subject
  services: number
  metric: Metric
}

export function figureCell(run: Run, place: Place, notes: Footnotes): string {
  const found = figure(run, place.subject, place.services, place.metric)
  return found ? formatSummary(found, place.metric.unit) : missingCell(run, place, notes)
}

/** For a figure that is not there; the reason goes to the notes. */
export function missingCell(run: Run, { subject, services, metric }: Place, notes: Footnotes): string {
  return MISSING + notes.mark(whyMissing(run, subject, services, metric))
}
