/** The soak in words: what grew, what happened, and how it was measured. */
import { timeline } from '../report/charts.ts'
import { formatMachine, formatVersions } from '../report/environment.ts'
import { formatNumber, formatQuantity } from '../report/format.ts'
import { type Chart, image, renderSection, table } from '../report/section.ts'
import { writeFiles } from '../report/writeReport.ts'
import { type Event, GROWTHS, type Growth, type Soak, slope } from './results.ts'

const TITLES: Readonly<Record<Growth, string>> = {
  pssBytes: 'PSS of all processes',
  supervisorRssBytes: 'RSS of the supervisor',
  openFiles: 'open files',
  goroutines: 'goroutines',
  threads: 'threads',
}

/** Writes report.md, results.json and the chart. */
export async function writeSoak(soak: Soak, directory: string): Promise<void> {
  const chart = memoryChart(soak)
  await writeFiles(directory, [
    ['results.json', `${JSON.stringify(soak, null, 1)}\n`],
    [chart.file, chart.svg],
    ['report.md', `${renderMarkdown(soak, chart)}\n`],
  ])
}

/** What a terminal shows at the end: growth and failures. */
export function renderSoak(soak: Soak): string {
  return [growthTable(soak), eventTable(soak)].join('\n\n')
}

function renderMarkdown(soak: Soak, chart: Chart): string {
  const { minutes, services, startedAt, machine, versions, host } = soak
  return [
    '# A soak: what grows, and what fails',
    `${services} services for ${Math.round(minutes)} minutes, from ${startedAt}. Between two events every service is asked twice a second; ` +
      'each event happens under the same load, and afterwards every service must answer a new connection.',
    renderSection({
      title: 'Growth',
      blocks: [
        'Least-squares slope over the samples after the first quarter, which is warming up.',
        growthTable(soak),
        image(chart),
      ],
      charts: [chart],
    }),
    renderSection({ title: 'Events', blocks: [eventTable(soak)], charts: [] }),
    renderSection({
      title: 'How it was measured',
      blocks: [
        `${formatMachine(machine)}; ${formatVersions(versions)}. ${host}`,
        `Repeat with \`npm run bench:soak -- --minutes ${Math.round(minutes)}\`.`,
      ],
      charts: [],
    }),
  ].join('\n\n')
}

function growthTable(soak: Soak): string {
  const rows = GROWTHS.map((growth) => {
    const found = slope(soak, growth)
    const unit = growth.endsWith('Bytes') ? 'bytes' : 'count'
    if (!found) return [TITLES[growth], '-', '-', '-']
    const { mean, perHour } = found
    const sign = perHour < 0 ? '-' : '+'
    const share = mean > 0 ? `${sign}${formatNumber(Math.abs((100 * perHour) / mean))} %` : '-'
    return [TITLES[growth], formatQuantity(mean, unit), `${sign}${formatQuantity(Math.abs(perHour), unit)}`, share]
  })
  return table(['', 'mean', 'per hour', 'per hour'], rows)
}

function eventTable({ events }: Soak): string {
  const names = [...new Set(events.map(({ name }) => name))]
  const rows = names.map((name) => {
    const same = events.filter((event) => event.name === name)
    const total = (of: (event: Event) => number) => same.reduce((sum, event) => sum + of(event), 0)
    const most = (of: (event: Event) => number) => Math.max(...same.map(of))
    return [
      name,
      String(same.length),
      String(total(({ moved }) => moved)),
      String(total(({ requests }) => requests.total)),
      String(total(({ requests }) => requests.failed)),
      formatQuantity(
        most(({ requests }) => requests.slowestMs),
        'milliseconds',
      ),
      formatQuantity(
        most(({ answeredSeconds }) => answeredSeconds),
        'seconds',
      ),
    ]
  })
  return table(['event', 'times', 'services moved', 'requests', 'failed', 'slowest', 'all answer after'], rows)
}

function memoryChart({ samples }: Soak): Chart {
  const lines = (of: Growth, divisor: number) => [
    { name: of, points: samples.map((sample) => [sample.atMinutes, sample[of] / divisor] as const) },
  ]
  return {
    file: 'growth.svg',
    alt: 'Memory, open files and goroutines over the minutes of the soak',
    svg: timeline('Growth over the soak', 'minutes', [
      { name: TITLES.pssBytes, axis: 'MB', lines: lines('pssBytes', 1e6) },
      { name: TITLES.goroutines, axis: 'goroutines', lines: lines('goroutines', 1) },
      { name: TITLES.openFiles, axis: 'open files', lines: lines('openFiles', 1) },
    ]),
  }
}
