/** What each measure is worth: ours without it, beside ours. */
import type { Run, Subject } from '../results.ts'
import { barChart } from './charts.ts'
import { figure, headlineSize, oursOf, sizesOf, whyMissing } from './figures.ts'
import { Footnotes } from './footnotes.ts'
import { formatChange, formatQuantity, formatSummary, MISSING, scaleOf } from './format.ts'
import { cpu, cpuPerThousand, type Metric, pss, ready, wakeUps } from './metrics.ts'
import { type Chart, image, type Section, table } from './section.ts'
import { overlap, ratio } from './statistics.ts'

const METRICS: readonly Metric[] = [
  cpu('idle'),
  pss('idle'),
  wakeUps('idle'),
  ready('start'),
  ready('restart'),
  cpuPerThousand('saturated'),
]

export function ablationSection(run: Run): Section {
  const title = 'What each measure is worth'
  const ours = oursOf(run)
  const ablations = run.subjects.filter(({ group }) => group === 'ablation')
  const services = ours && commonSize(run, ours, ablations)
  if (!ours || services === undefined) return { title, blocks: [], charts: [] }
  const subjects = [ours, ...ablations]
  const shown = METRICS.filter((metric) => ablations.some((each) => figure(run, each, services, metric)))
  const notes = new Footnotes()
  const rows = subjects.map((subject) => [
    subject === ours ? `**${subject.title}**` : subject.title,
    ...shown.map((metric) => cell(run, { subject, ours, services, metric }, notes)),
  ])
  const chart = ablationChart(run, subjects, services)
  return {
    title,
    blocks: [
      `One measure at a time is switched off or changed, at ${services} services. Below each figure: the change against ${ours.title}; where the ranges of the repeats have a value in common it is in brackets, for it may be chance.`,
      table(['', ...shown.map(({ title }) => title)], rows),
      notes.toString(),
      ...(chart ? [image(chart)] : []),
    ],
    charts: chart ? [chart] : [],
  }
}

/** The headline's size if it was run, or else the largest at which ours and the most ablations were run. */
function commonSize(run: Run, ours: Subject, ablations: readonly Subject[]): number | undefined {
  const sizes = sizesOf(run, [ours]).toReversed()
  const present = (services: number) => ablations.filter((each) => sizesOf(run, [each]).includes(services)).length
  const headline = headlineSize(run)
  if (headline !== null && sizes.includes(headline) && present(headline) > 0) return headline
  return sizes.filter((services) => present(services) > 0).toSorted((a, b) => present(b) - present(a))[0]
}

interface Place {
  subject: Subject
  ours: Subject
  services: number
  metric: Metric
}

function cell(run: Run, { subject, ours, services, metric }: Place, notes: Footnotes): string {
  const found = figure(run, subject, services, metric)
  if (!found) return MISSING + notes.mark(whyMissing(run, subject, services, metric))
  const base = figure(run, ours, services, metric)
  if (subject === ours) return formatSummary(found, metric.unit)
  const change = base && ratio(found, base)
  if (!change) return formatSummary(found, metric.unit)
  const words = formatChange(change.median)
  const chance = overlap(found, base)
  return `${formatQuantity(found.median, metric.unit)}<br>${chance ? `(${words})` : words}`
}

function ablationChart(run: Run, subjects: readonly Subject[], services: number): Chart | null {
  const metrics = [cpu('idle'), pss('idle')]
  const bars = subjects.map((subject) => ({
    name: subject.title,
    values: metrics.map((metric) => {
      const found = figure(run, subject, services, metric)
      return found && found.median / scaleOf(metric.unit, 0).divisor
    }),
  }))
  const measured = bars.filter(({ values }) => values.some((value) => value !== null))
  if (measured.length < 2) return null
  return {
    file: 'ablations.svg',
    alt: `Idle CPU and memory at ${services} services with single measures switched off, one bar each`,
    svg: barChart(`One measure off, ${services} idle services`, ['CPU, % of one core', 'PSS, MB'], measured),
  }
}
