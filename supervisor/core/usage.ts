/**
 * Usage: what all workers have counted of each service, those that have ended included. Each worker counts for itself and
 * from zero; the sum grows whatever becomes of the workers, as what each was last known to have counted is kept. Pure.
 */
import { type Exposition, type Metadata, familyOf, isCumulative } from './exposition.ts'

/** What has been counted of a service, by series. */
type Totals = ReadonlyMap<string, number>
type ByService = ReadonlyMap<string, Totals>

/** Counters of services from one source. */
export interface Usage {
  /** Of workers that have ended, added up. */
  readonly ended: ByService
  /** As last known, by worker. */
  readonly workers: ReadonlyMap<string, ByService>
}

export const noUsage: Usage = { ended: new Map(), workers: new Map() }

/**
 * Takes in what a worker says to have counted. Services that it does not name stay as they are. If a counter is less than
 * before, the service begins anew there (a worker of an earlier version forgets it with each move): what was known is kept.
 */
export function withCounts(usage: Usage, workerId: string, counts: ByService): Usage {
  const known = new Map(usage.workers.get(workerId))
  let ended = usage.ended
  for (const [service, totals] of counts) {
    const before = known.get(service)
    // Copied only here: this runs for each event, and names all services.
    if (before && hasFallen(before, totals)) ended = new Map(ended).set(service, add(ended.get(service), before))
    known.set(service, totals)
  }
  return { ended, workers: new Map(usage.workers).set(workerId, known) }
}

/** Keeps what a worker has counted until its end. */
export function withEnd(usage: Usage, workerId: string): Usage {
  const counted = usage.workers.get(workerId)
  if (!counted) return usage
  const workers = new Map(usage.workers)
  workers.delete(workerId)
  const ended = new Map(usage.ended)
  for (const [service, totals] of counted) ended.set(service, add(ended.get(service), totals))
  return { ended, workers }
}

/** Forgets the other services. */
export function onlyOf(usage: Usage, services: ReadonlySet<string>): Usage {
  const only = (counts: ByService) => new Map([...counts].filter(([service]) => services.has(service)))
  return { ended: only(usage.ended), workers: new Map([...usage.workers].map(([id, counts]) => [id, only(counts)])) }
}

/** Everything that was counted of a service. */
export function totalsOf(usage: Usage, service: string): Totals {
  const all = [usage.ended, ...usage.workers.values()].flatMap((counts) => counts.get(service) ?? [])
  return all.reduce<Totals>(add, new Map())
}

const SERVICE = /[{,]service="((?:[^"\\]|\\.)*)"/
const NAME = /^[^{]*/

/** The counters and histograms of services in an exposition. */
export function countsOf(exposition: Exposition): ByService {
  const counts = new Map<string, Map<string, number>>()
  for (const family of exposition.values()) {
    if (!isCumulative(family)) continue
    for (const [series, value] of family.samples) {
      const service = serviceOf(series)
      if (service === null) continue
      const totals = counts.get(service) ?? new Map<string, number>()
      counts.set(service, totals.set(series, Number(value)))
    }
  }
  return counts
}

/** The service of a series; null when it is not about one. */
export const serviceOf = (series: string): string | null => SERVICE.exec(series)?.[1] ?? null

/** The totals of services as an exposition. */
export function expose(services: Iterable<Totals>, metadata: ReadonlyMap<string, Metadata>): Exposition {
  const families = new Map<string, Metadata & { samples: Map<string, string> }>()
  for (const totals of services) {
    for (const [series, value] of totals) {
      const name = familyOf(NAME.exec(series)?.[0] ?? '', metadata)
      const family = families.get(name) ?? { help: '', type: '', ...metadata.get(name), samples: new Map<string, string>() }
      families.set(name, family)
      family.samples.set(series, String(value))
    }
  }
  return families
}

/** A series that is not there any more has fallen, too. */
const hasFallen = (before: Totals, totals: Totals) => [...before].some(([series, value]) => (totals.get(series) ?? 0) < value)

function add(known: Totals | undefined, totals: Totals): Totals {
  const sum = new Map(known)
  for (const [series, value] of totals) sum.set(series, (sum.get(series) ?? 0) + value)
  return sum
}
