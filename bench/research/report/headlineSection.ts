/** The first table of the report: what the services cost with each subject, and the targets. */
import type { Run, Subject } from '../../harness/results.ts'
import { disturbanceMark, missingCell, type Place } from './cells.ts'
import { compared, figure, headlineSize, INVESTIGATED_SERVICES, oursOf, ratiosOf, sizeFor, trialsOf } from './figures.ts'
import { Footnotes } from './footnotes.ts'
import { formatNumber, formatSummary } from './format.ts'
import {
  answered,
  cpu,
  cpuPerThousand,
  goroutines,
  type Metric,
  network,
  p99,
  pss,
  ready,
  requestsPerSecond,
  threads,
  wakeUps,
} from '../../harness/metrics.ts'
import { type Section, table } from './section.ts'
import { summarize } from './statistics.ts'
import { judge, TARGETS, type Verdict } from './targets.ts'

/** What the headline tells, in its order. */
export const HEADLINE: readonly Metric[] = [
  cpu('idle'),
  pss('idle'),
  ready('start'),
  answered('start'),
  ready('restart'),
  answered('restart'),
  cpuPerThousand('saturated'),
  requestsPerSecond('saturated'),
  p99('saturated'),
  wakeUps('idle'),
  network('idle'),
  goroutines('idle'),
  threads('idle'),
]

export function headlineSection(run: Run): Section {
  const services = headlineSize(run)
  const title = services === null ? 'Result' : `${services} services`
  if (services === null) return { title, blocks: ['Nothing was measured.'], charts: [] }
  return { title, blocks: [sizeRemark(services), ...headlineTable(run), ...targetTable(run, services)], charts: [] }
}

function sizeRemark(services: number): string {
  if (services === INVESTIGATED_SERVICES) return ''
  return `${INVESTIGATED_SERVICES} services were not among the sizes of this run: ${services} is the largest that the subjects have in common.`
}

function headlineTable(run: Run): string[] {
  const subjects = compared(run)
  const ours = oursOf(run)
  const notes = new Footnotes()
  const shown = HEADLINE.flatMap((metric) => {
    const services = sizeFor(run, metric)
    return services === null ? [] : [{ metric, services }]
  })
  const rows = shown.map(({ metric, services }) => [
    metric.title + (services === headlineSize(run) ? '' : ` at ${services} services`),
    ...subjects.map((subject) => cell(run, { subject, ours, services, metric }, notes)),
  ])
  const absent = HEADLINE.filter((metric) => !shown.some((row) => row.metric === metric)).map(({ title }) => title)
  return [
    table(['', ...subjects.map(({ title }) => title)], rows),
    notes.toString(),
    ours && subjects.length > 1
      ? `Medians, with the smallest and the largest repeat in brackets. Ours is ${ours.title}; below each figure of another is how many times less or more ours is, bold where that is better, and in brackets the range. That is the median of the ratios of single repeats, for what was measured side by side in time had the same machine.`
      : '',
    absent.length > 0 ? `Not measured in this run: ${absent.join('; ')}.` : '',
  ]
}

interface Beside extends Place {
  ours: Subject | undefined
}

function cell(run: Run, { subject, ours, services, metric }: Beside, notes: Footnotes): string {
  const found = figure(run, subject, services, metric)
  if (!found) return missingCell(run, { subject, services, metric }, notes)
  const ofAborted = trialsOf(run, subject, services).find((trial) => trial.aborted !== null && metric.of(trial) !== null)
  const mark = ofAborted ? notes.mark(`from a trial that was aborted later: ${ofAborted.aborted ?? ''}`) : ''
  const value = formatSummary(found, metric.unit) + mark + disturbanceMark(run, { subject, services, metric }, notes)
  if (!ours || subject === ours) return `**${value}**`
  const words = comparison(run, { subject, ours, services, metric })
  return words === '' ? value : `${value}<br>${words}`
}

/** "ours 58x less (52-66)", worded by the median: with "less", a range that goes below 1 tells of repeats in which it was more. */
function comparison(run: Run, { subject, ours, services, metric }: Beside & { ours: Subject }): string {
  const more = summarize(ratiosOf(run, [ours, subject], services, metric))
  const less = summarize(ratiosOf(run, [subject, ours], services, metric))
  if (!less || !more) return ''
  const isLess = less.median >= 1
  const times = isLess ? less : more
  const range = times.repeats > 1 ? ` (${formatNumber(times.min)}-${formatNumber(times.max)})` : ''
  const words = `ours ${formatNumber(times.median)}x ${isLess ? 'less' : 'more'}`
  return (isLess === (metric.better === 'less') ? `**${words}**` : words) + range
}

function targetTable(run: Run, services: number): string[] {
  if (!oursOf(run)) return []
  const verdicts = judge(run, TARGETS, { services })
  const remark =
    services === INVESTIGATED_SERVICES
      ? ''
      : `They are meant for ${INVESTIGATED_SERVICES} services: at ${services} they are for orientation only.`
  return [
    '### Targets',
    remark,
    table(
      ['target', 'found', ''],
      verdicts.map((verdict) => [verdict.limit, verdict.found, verdictWords(verdict)]),
    ),
  ]
}

export function verdictWords(verdict: Verdict): string {
  return resultWords(verdict) + (verdict.disturbed ? ' (disturbed)' : '')
}

function resultWords({ result, everyRepeat }: Verdict): string {
  switch (result) {
    case 'missing':
      return 'not measured'
    case 'missed':
      return '**missed**'
    case 'met':
    case 'beyond':
      return `${result === 'beyond' ? 'met, and beyond' : 'met'}${everyRepeat ? '' : ' by the median only'}`
  }
}
