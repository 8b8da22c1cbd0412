/** The end of a run in the terminal. */
import { disturbance, isDisturbed } from '../../harness/attempts.ts'
import type { Run, Subject } from '../../harness/results.ts'
import { columns } from './columns.ts'
import { compared, figure, headlineSize, oursOf, ratiosOf, sizeFor } from './figures.ts'
import { formatNumber, formatQuantity, MISSING } from './format.ts'
import { HEADLINE, verdictWords } from './headlineSection.ts'
import type { Metric } from '../../harness/metrics.ts'
import { summarize } from './statistics.ts'
import { judge, TARGETS } from './targets.ts'

/** Headline, targets, and what went wrong, as plain text; the report has the spread and the rest. */
export function renderConsole(run: Run): string {
  const services = headlineSize(run)
  if (services === null) return `Nothing was measured.\n${account(run)}\n`
  const targets = oursOf(run)
    ? judge(run, TARGETS, { services }).map((verdict) => [
        verdictWords(verdict).replaceAll('*', ''),
        verdict.limit,
        verdict.found,
      ])
    : []
  const legend = oursOf(run) && compared(run).length > 1 ? '; 2x: ours is two times better, 0.5x: two times worse' : ''
  const parts = [
    `${services} services${legend}`,
    columns(headline(run)),
    ...(targets.length > 0 ? [columns(targets)] : []),
    account(run),
  ]
  return `${parts.join('\n\n')}\n`
}

function headline(run: Run): string[][] {
  const subjects = compared(run)
  const rows = HEADLINE.flatMap((metric) => {
    const services = sizeFor(run, metric)
    if (services === null) return []
    const at = services === headlineSize(run) ? '' : ` at ${services}`
    return [[metric.title + at, ...subjects.map((subject) => cell(run, subject, services, metric))]]
  })
  return [['', ...subjects.map(({ title }) => title)], ...rows]
}

/** Median, and for all but ours how many times better ours is: "125 %  58x". */
function cell(run: Run, subject: Subject, services: number, metric: Metric): string {
  const found = figure(run, subject, services, metric)
  if (!found) return MISSING
  const value = formatQuantity(found.median, metric.unit)
  const ours = oursOf(run)
  if (subject === ours) return value
  const times = ours && summarize(ratiosOf(run, metric.better === 'less' ? [subject, ours] : [ours, subject], services, metric))
  return times ? `${value}  ${formatNumber(times.median)}x` : value
}

function account({ planned, trials, discarded, complete }: Run): string {
  const aborted = trials.filter((trial) => trial.aborted !== null).length
  const disturbed = trials.filter((trial) => isDisturbed(disturbance(trial))).length
  const again = `${discarded.length} further attempts because of stolen CPU time, ${disturbed} trials disturbed all the same`
  return `${trials.length} of ${planned} trials, ${aborted} aborted; ${again}${complete ? '' : '; the run was interrupted'}`
}
