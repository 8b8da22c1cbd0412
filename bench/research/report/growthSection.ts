/** How cost grows with the number of services. */
import type { LoadName, Run, Subject } from '../../harness/results.ts'
import { disturbanceMark } from './cells.ts'
import { growthChart } from './charts.ts'
import { compared, figure, growth, samples, sizesOf, whyMissing } from './figures.ts'
import { Footnotes } from './footnotes.ts'
import { formatNumber, formatScaling, MISSING, scaleOf } from './format.ts'
import { cpu, type Metric, pss } from '../../harness/metrics.ts'
import { type Chart, image, type Section, table } from './section.ts'

/** Exponents are compared over sizes that peers reach, too. */
const COMMON_SIZES = 60

/** Of the others the load grows to what the machine gives, whatever the number of services. */
const GROWING_LOADS: readonly LoadName[] = ['idle', 'light', 'moderate']

export function growthSection(run: Run): Section {
  const parts = GROWING_LOADS.flatMap((load) => [
    growthPart(run, cpu(load), `cpu-${load}.svg`),
    growthPart(run, pss(load), `pss-${load}.svg`),
  ])
  const told = parts.filter(({ blocks }) => blocks.length > 0)
  const intro =
    'Medians, and the exponent k of the power N^k that fits them best: least squares of log(figure) over log(N), from 10 services on. With k = 1, twice the services cost twice as much; with k = 2, four times. A cost that does not depend on N pulls k below 1, and so does a machine that has no more CPU to give.'
  return {
    title: 'Growth with the number of services',
    blocks: told.length === 0 ? [] : [intro, fullMachine(run), ...told.flatMap(({ blocks }) => blocks)],
    charts: told.flatMap(({ charts }) => charts),
  }
}

/** Table and chart of one metric; nothing with fewer than two sizes. */
export function growthPart(run: Run, metric: Metric, file: string): Omit<Section, 'title'> {
  const has = (subject: Subject, services: number) => figure(run, subject, services, metric) !== null
  const subjects = compared(run).filter((subject) => sizesOf(run, [subject]).some((services) => has(subject, services)))
  const sizes = sizesOf(run, subjects).filter((services) => subjects.some((subject) => has(subject, services)))
  if (sizes.length < 2) return { blocks: [], charts: [] }
  const largest = Math.max(...sizes)
  const { divisor, suffix } = scaleOf(metric.unit, 0)
  const notes = new Footnotes()
  const rows = subjects.map((subject) => {
    const measured = sizesOf(run, [subject])
    return [
      subject.title,
      ...sizes.map((services) => {
        const found = figure(run, subject, services, metric)
        if (found) {
          return formatNumber(found.median / divisor) + disturbanceMark(run, { subject, services, metric }, notes)
        }
        return MISSING + (measured.includes(services) ? notes.mark(whyMissing(run, subject, services, metric)) : '')
      }),
      formatScaling(growth(run, subject, metric, COMMON_SIZES)),
      ...(largest > COMMON_SIZES
        ? [measured.some((n) => n > COMMON_SIZES) ? formatScaling(growth(run, subject, metric)) : '']
        : []),
    ]
  })
  const head = [
    `${metric.title},${suffix}`,
    ...sizes.map(String),
    largest > COMMON_SIZES ? `growth to ${COMMON_SIZES}` : 'growth',
    ...(largest > COMMON_SIZES ? [`growth to ${largest}`] : []),
  ]
  const chart = chartOf(run, subjects, metric, file)
  return { blocks: [`### ${capital(metric.title)}`, table(head, rows), notes.toString(), image(chart)], charts: [chart] }
}

function chartOf(run: Run, subjects: readonly Subject[], metric: Metric, file: string): Chart {
  const { divisor, suffix } = scaleOf(metric.unit, 0)
  const lines = subjects.map((subject) => ({
    name: subject.title,
    points: sizesOf(run, [subject]).flatMap((services) => {
      const found = figure(run, subject, services, metric)
      const repeats = samples(run, subject, services, metric).map((y) => y / divisor)
      return found ? [{ services, median: found.median / divisor, repeats }] : []
    }),
  }))
  const unit = metric.unit === 'percent' ? '% of one core' : suffix.trim()
  return {
    file,
    alt: `${capital(metric.title)} over the number of services, one line a subject`,
    svg: growthChart(capital(metric.title), unit, lines),
  }
}

/** A subject that takes all there is cannot show what it needs. */
function fullMachine(run: Run): string {
  const all = run.machine.cores * 100
  const full = compared(run).flatMap((subject) => {
    const at = sizesOf(run, [subject]).filter((services) =>
      GROWING_LOADS.some((load) => taken(run, subject, services, load) > 0.7 * all),
    )
    return at.length > 0 ? [`${subject.title} at ${at.join(', ')}`] : []
  })
  return full.length === 0
    ? ''
    : `More than 70 % of the machine's ${run.machine.cores} cores were taken by ${full.join('; ')}: with control plane and clients beside it, the machine was full, and the true need is higher than shown.`
}

function taken(run: Run, subject: Subject, services: number, load: LoadName): number {
  return figure(run, subject, services, cpu(load))?.median ?? 0
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}
