/** Variants of ours beside ours: what each measure is worth, and what the size of a shard makes of it. */
import type { Run, Subject } from '../../harness/results.ts'
import { disturbanceMark, missingCell, type Place } from './cells.ts'
import { barChart } from './charts.ts'
import { figure, oursOf, samples, sizesOf } from './figures.ts'
import { Footnotes } from './footnotes.ts'
import { formatChange, formatQuantity, formatSummary, scaleOf } from './format.ts'
import { cpu, cpuPerThousand, type Metric, p99, pss, ready, startCPU, wakeUps } from '../../harness/metrics.ts'
import { type Chart, image, type Section, table } from './section.ts'
import { overlap } from './statistics.ts'

interface About {
  title: string
  group: Subject['group']
  /** What the table is of, for a sentence. */
  what: string
  metrics: readonly Metric[]
  /** Of the chart, without extension. */
  file: string
}

const CHARTED = [cpu('idle'), pss('idle')]

/** What each measure is worth: ours without it, beside ours. */
export function ablationSection(run: Run): Section {
  return variantSection(run, {
    title: 'What each measure is worth',
    group: 'ablation',
    what: 'One measure at a time is switched off or changed',
    metrics: [...CHARTED, wakeUps('idle'), ready('start'), ready('restart'), cpuPerThousand('saturated')],
    file: 'ablations',
  })
}

/** From which the default size of a shard is chosen. */
export function sizingSection(run: Run): Section {
  return variantSection(run, {
    title: 'The size of a shard',
    group: 'sizing',
    what: 'The same services in shards of other sizes',
    metrics: [...CHARTED, wakeUps('idle'), startCPU('start'), ready('restart'), cpu('moderate'), p99('moderate')],
    file: 'shard-sizes',
  })
}

function variantSection(run: Run, { title, group, what, metrics, file }: About): Section {
  const ours = oursOf(run)
  const variants = run.subjects.filter((subject) => subject.group === group)
  if (!ours) return { title, blocks: [], charts: [] }
  const places = metrics.flatMap((metric) => {
    const services = sharedSize(run, ours, variants, metric)
    return services === undefined ? [] : [{ metric, services }]
  })
  if (places.length === 0) return { title, blocks: [], charts: [] }
  const subjects = [ours, ...variants]
  const notes = new Footnotes()
  const rows = subjects.map((subject) => [
    subject === ours ? `**${subject.title}**` : subject.title,
    ...places.map((place) => cell(run, { subject, ours, ...place }, notes)),
  ])
  const chart = variantChart(run, subjects, places, `${what}, one bar each`, `${file}.svg`)
  return {
    title,
    blocks: [
      `${what}. Below each figure: the change against ${ours.title}; where the ranges of the repeats have a value in common it is in brackets, for it may be chance.`,
      table(['', ...places.map(({ metric, services }) => `${metric.title}; ${services} services`)], rows),
      notes.toString(),
      ...(chart ? [image(chart)] : []),
    ],
    charts: chart ? [chart] : [],
  }
}

/** The size at which ours and the most variants have the figure, of several the largest. */
function sharedSize(run: Run, ours: Subject, variants: readonly Subject[], metric: Metric): number | undefined {
  const having = (services: number) => variants.filter((each) => samples(run, each, services, metric).length > 0).length
  return sizesOf(run, [ours])
    .filter((services) => samples(run, ours, services, metric).length > 0 && having(services) > 0)
    .toSorted((a, b) => having(b) - having(a) || b - a)[0]
}

interface Beside extends Place {
  ours: Subject
}

function cell(run: Run, { subject, ours, services, metric }: Beside, notes: Footnotes): string {
  const found = figure(run, subject, services, metric)
  if (!found) return missingCell(run, { subject, services, metric }, notes)
  const base = figure(run, ours, services, metric)
  const mark = disturbanceMark(run, { subject, services, metric }, notes)
  if (subject === ours || !base || base.median <= 0) return formatSummary(found, metric.unit) + mark
  const words = formatChange(found.median / base.median)
  const chance = overlap(found, base)
  return `${formatQuantity(found.median, metric.unit)}${mark}<br>${chance ? `(${words})` : words}`
}

function variantChart(
  run: Run,
  subjects: readonly Subject[],
  places: readonly Omit<Place, 'subject'>[],
  what: string,
  file: string,
): Chart | null {
  const charted = CHARTED.map(({ title }) => places.find(({ metric }) => metric.title === title))
  const services = charted[0]?.services
  if (services === undefined) return null
  const bars = subjects.map((subject) => ({
    name: subject.title,
    values: charted.map((place) => {
      const found = place && figure(run, subject, place.services, place.metric)
      return found ? found.median / scaleOf(place.metric.unit, 0).divisor : null
    }),
  }))
  const measured = bars.filter(({ values }) => values.some((value) => value !== null))
  if (measured.length < 2) return null
  return {
    file,
    alt: `Idle CPU and memory at ${services} services: ${what}`,
    svg: barChart(`${services} idle services`, ['CPU, % of one core', 'PSS, MB'], measured),
  }
}
