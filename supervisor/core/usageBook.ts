/**
 * The book of what services have been used: fed with events, read by status and metrics. It is the one part of the core that
 * changes in place, as it is as large as all the metrics.
 */
import { type Exposition, type Metadata, isCumulative, mergeExpositions, parseExposition } from './exposition.ts'
import type { Event } from './types.ts'
import { type Usage, countsOf, expose, noUsage, onlyOf, serviceOf, totalsOf, withCounts, withEnd } from './usage.ts'

/** What has to outlive the supervisor. */
export interface UsageRecord {
  /** HELP and TYPE of the families: without a worker nobody else knows them. */
  readonly families: ReadonlyMap<string, Metadata>
  /** From the workers' metrics. */
  readonly metrics: Usage
  /** From their events, which tell less and earlier: `requests` and `errors`. */
  readonly events: Usage
}

export const nothingUsed: UsageRecord = { families: new Map(), metrics: noUsage, events: noUsage }

/** Types of tsnsrv_errors_total that count as errors of a service. */
const ERRORS = ['upstream', 'upstream_5xx', 'auth']

export class UsageBook {
  #record: UsageRecord
  /** What is true of the present only, as last read, by worker. */
  readonly #present = new Map<string, Exposition>()
  /** Of the latest status of each service, by worker: the answer to a call and the event stream overtake each other. */
  readonly #revisions = new Map<string, Map<string, number>>()
  /** Services of the configuration; null before there is one. */
  #services: ReadonlySet<string> | null = null
  /** Called when the counters of a worker that has ended are in the book. */
  onEnd: () => void = () => undefined

  constructor(record: UsageRecord) {
    this.#record = record
  }

  get record(): UsageRecord {
    const services = this.#services
    if (!services) return this.#record
    const { metrics, events } = this.#record
    return { ...this.#record, metrics: onlyOf(metrics, services), events: onlyOf(events, services) }
  }

  /** Takes in what an event tells of counters. */
  take(event: Event): void {
    const { metrics, events } = this.#record
    switch (event.type) {
      case 'workerState':
        this.#takeStatuses(event.workerId, event.state.services)
        return
      case 'serviceChanged':
        this.#takeStatuses(event.workerId, [event.service])
        return
      case 'metricsRead': {
        const read = parseExposition(event.text)
        const families = new Map(this.#record.families)
        for (const [name, { help, type }] of read) if (isCumulative({ help, type })) families.set(name, { help, type })
        this.#record = { ...this.#record, families, metrics: withCounts(metrics, event.workerId, countsOf(read)) }
        this.#present.set(event.workerId, withoutCounts(read))
        return
      }
      case 'workerExited':
        this.#record = { ...this.#record, metrics: withEnd(metrics, event.workerId), events: withEnd(events, event.workerId) }
        this.#present.delete(event.workerId)
        this.#revisions.delete(event.workerId)
        this.onEnd()
        return
      case 'workerLeft':
        this.#present.delete(event.workerId)
        return
      default:
    }
  }

  #takeStatuses(workerId: string, statuses: Extract<Event, { type: 'workerState' }>['state']['services']): void {
    const revisions = this.#revisions.get(workerId) ?? new Map<string, number>()
    this.#revisions.set(workerId, revisions)
    const newer = statuses.filter(({ name, revision }) => revision >= (revisions.get(name) ?? 0))
    const counts = newer.map(({ name, revision, counters: { requests, errors } }) => {
      revisions.set(name, revision)
      return [name, new Map(Object.entries({ requests, errors }))] as const
    })
    this.#record = { ...this.#record, events: withCounts(this.#record.events, workerId, new Map(counts)) }
  }

  /** Counts all workers but these among those that have ended: of the others an earlier supervisor knew. */
  keepWorkers(living: ReadonlySet<string>): void {
    const { metrics, events } = this.#record
    for (const id of new Set([...metrics.workers.keys(), ...events.workers.keys()])) {
      if (!living.has(id)) this.take({ type: 'workerExited', workerId: id, message: '' })
    }
  }

  /** Forgets services that are not configured any more. */
  keepServices(services: ReadonlySet<string>): void {
    this.#services = services
    this.#record = this.record
  }

  /** What a service has been asked and what went wrong, in all its workers. Neither ever falls. */
  served(service: string): { requests: number; errors: number } {
    const told = totalsOf(this.#record.events, service)
    let [requests, errors] = [0, 0]
    for (const [series, value] of totalsOf(this.#record.metrics, service)) {
      if (series.startsWith('tsnsrv_requests_total{')) requests += value
      if (series.startsWith('tsnsrv_errors_total{') && ERRORS.some((type) => series.includes(`type="${type}"`))) errors += value
    }
    // Either lags behind what happened, and neither runs ahead of it.
    return { requests: Math.max(requests, told.get('requests') ?? 0), errors: Math.max(errors, told.get('errors') ?? 0) }
  }

  /**
   * The metrics of all services and workers, as last read. What is true of the present of a service comes from the worker that
   * has it.
   */
  metrics(owners: ReadonlyMap<string, string>): Exposition {
    const { families, metrics } = this.record
    const names = new Set([metrics.ended, ...metrics.workers.values()].flatMap((counts) => [...counts.keys()]))
    const counted = expose(
      [...names].sort().map((name) => totalsOf(metrics, name)),
      families,
    )
    // By worker, so that the page does not depend on which of them answers first.
    const present = [...this.#present]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([id, read]) => filtered(read, (series) => isOwn(series, id, owners)))
    return mergeExpositions([counted, ...present])
  }
}

function isOwn(series: string, workerId: string, owners: ReadonlyMap<string, string>): boolean {
  const service = serviceOf(series)
  return service === null || owners.get(service) === workerId
}

/** Without the counters of services, which are counted by worker. */
function withoutCounts(read: Exposition): Exposition {
  return new Map(
    [...read].map(([name, family]) => {
      return [
        name,
        isCumulative(family) ? { ...family, samples: samplesOf(family, (series) => serviceOf(series) === null) } : family,
      ]
    }),
  )
}

function filtered(exposition: Exposition, keep: (series: string) => boolean): Exposition {
  const families = [...exposition].map(([name, family]) => [name, { ...family, samples: samplesOf(family, keep) }] as const)
  return new Map(families.filter(([, { samples }]) => samples.size > 0))
}

const samplesOf = ({ samples }: { samples: ReadonlyMap<string, string> }, keep: (series: string) => boolean) =>
  new Map([...samples].filter(([series]) => keep(series)))
