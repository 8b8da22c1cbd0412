/** What TLS costs, beside the same subject without it. */
import type { Run, Subject } from '../../harness/results.ts'
import { figureCell } from './cells.ts'
import { ratiosOf, sizesOf } from './figures.ts'
import { Footnotes } from './footnotes.ts'
import { formatChange } from './format.ts'
import { cpuPerThousand, type Metric } from '../../harness/metrics.ts'
import { type Section, table } from './section.ts'
import { summarize } from './statistics.ts'

const METRICS: readonly (readonly [title: string, metric: Metric])[] = [
  ['CPU per 1,000 requests on kept connections', cpuPerThousand('saturated')],
  ['CPU per 1,000 new connections, a request on each', cpuPerThousand('connecting')],
]

export function httpsSection(run: Run): Section {
  const title = 'What https costs'
  const subjects = run.subjects.flatMap((https) => {
    const http = run.subjects.find(({ key }) => https.group === 'https' && `${key}-https` === https.key)
    return http ? [{ http, https }] : []
  })
  const services = sizesOf(
    run,
    subjects.map(({ https }) => https),
  ).at(-1)
  if (services === undefined) return { title, blocks: [], charts: [] }
  const notes = new Footnotes()
  const rows = subjects.map(({ http, https }) => [
    http.title,
    ...METRICS.flatMap(([, metric]) => [
      figureCell(run, { subject: http, services, metric }, notes),
      figureCell(run, { subject: https, services, metric }, notes) + change(run, { http, https, services, metric }),
    ]),
  ])
  return {
    title,
    blocks: [
      `${services} services with a certificate from a file (P-256), HTTP/1.1, TLS 1.3, each new connection with a whole handshake. Below: the change against http, the median of the repeats.`,
      table(['', ...METRICS.flatMap(([name]) => [`${name}: http`, 'https'])], rows),
      notes.toString(),
    ],
    charts: [],
  }
}

interface Pair {
  http: Subject
  https: Subject
  services: number
  metric: Metric
}

function change(run: Run, { http, https, services, metric }: Pair): string {
  const times = summarize(ratiosOf(run, [https, http], services, metric))
  return times ? `<br>${formatChange(times.median)}` : ''
}
