/** What requests cost, and how long they take. */
import { type LoadName, LOADS, type Run, type Subject } from '../../harness/results.ts'
import { figureCell } from './cells.ts'
import { barChart } from './charts.ts'
import { compared, figure, oursOf, ratiosOf, sizeFor, trialsOf } from './figures.ts'
import { Footnotes } from './footnotes.ts'
import { formatNumber, MISSING } from './format.ts'
import { cpu, cpuPerThousand, p50, p99, pss, requestsPerSecond, slowest } from '../../harness/metrics.ts'
import { type Chart, image, type Section, table } from './section.ts'
import { summarize } from './statistics.ts'

const ABOUT: Record<Exclude<LoadName, 'idle'>, string> = {
  light: '5 requests/s to each tenth service',
  moderate: '10 requests/s to each service',
  saturated: '32 connections to twelve services (or all, where there are fewer), each asking again as soon as it has its answer',
  connecting: 'the same, over a new connection each time',
}

export function loadSection(run: Run): Section {
  const tables = LOADS.filter((load) => load !== 'idle').flatMap((load) => loadTable(run, load))
  const chart = requestChart(run)
  return {
    title: 'Under load',
    blocks: [...tables, ...pairTable(run), ...(chart ? [image(chart)] : [])],
    charts: chart ? [chart] : [],
  }
}

function loadTable(run: Run, load: Exclude<LoadName, 'idle'>): string[] {
  const services = sizeFor(run, requestsPerSecond(load))
  if (services === null) return []
  const metrics = [requestsPerSecond(load), p50(load), p99(load), slowest(load), cpu(load), cpuPerThousand(load), pss(load)]
  const notes = new Footnotes()
  const rows = compared(run).map((subject) => [
    subject.title,
    ...metrics.map((metric) => figureCell(run, { subject, services, metric }, notes)),
    failures(run, subject, services, load),
  ])
  const titles = metrics.map(({ title }) => title.replace(`, ${load}`, ''))
  return [`### ${load}: ${ABOUT[load]}; ${services} services`, table(['', ...titles, 'failed'], rows), notes.toString()]
}

/** The comparison that is decided closest to its limit, pair by pair: others' CPU time per request over ours. */
function pairTable(run: Run): string[] {
  const metric = cpuPerThousand('saturated')
  const services = sizeFor(run, metric)
  const ours = oursOf(run)
  if (services === null || !ours) return []
  const rows = compared(run).flatMap((subject) => {
    const pairs = subject === ours ? [] : ratiosOf(run, [subject, ours], services, metric)
    const found = summarize(pairs)
    return found ? [[subject.title, pairs.map(formatNumber).join(', '), formatNumber(found.median)]] : []
  })
  if (rows.length === 0) return []
  return [
    `${metric.title}, as a multiple of what ${ours.title} took in the same repeat, minutes before or after:`,
    table(['', 'repeats in their order', 'median'], rows),
  ]
}

/** Of all repeats together: failures are rare, and a median would hide them. */
function failures(run: Run, subject: Subject, services: number, load: LoadName): string {
  const asked = trialsOf(run, subject, services).flatMap(({ windows }) => windows[load]?.requests ?? [])
  if (asked.length === 0) return MISSING
  const total = asked.reduce((sum, requests) => sum + requests.total, 0)
  const failed = asked.reduce((sum, requests) => sum + requests.failed, 0)
  return `${formatNumber(failed)} of ${formatNumber(total)}`
}

function requestChart(run: Run): Chart | null {
  const metric = cpuPerThousand('saturated')
  const services = sizeFor(run, metric)
  if (services === null) return null
  const bars = compared(run).flatMap((subject) => {
    const found = figure(run, subject, services, metric)
    return found ? [{ name: subject.title, values: [found.median] }] : []
  })
  return {
    file: 'requests.svg',
    alt: `CPU time per 1,000 requests at 32 connections and ${services} services, one bar a subject`,
    svg: barChart(`CPU time per 1,000 requests, 32 connections, ${services} services`, ['ms of CPU'], bars),
  }
}
