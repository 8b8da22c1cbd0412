/**
 * Loads: what each service costs its worker. A worker's CPU is measured; of the services in it only their counters are known.
 * So each gets a part of the CPU as large as its part of the work that was counted. Pure.
 */
import type { ServiceStatus } from '../../shared/protocol.ts'
import { BYTES_PER_REQUEST, IDLE_PER_SECOND, RATE_MEMORY_MS } from './tuning.ts'

/** The work of a service, as known from its counters. */
interface Work {
  /** Counters at the last look; null when only the rate is known, from an earlier supervisor. */
  readonly counted: { readonly workerId: string; readonly requests: number; readonly bytes: number } | null
  /** Epoch ms of the last look at the counters. */
  readonly at: number
  /** Moving average, in small requests a second. */
  readonly perSecond: number
}

export type Works = ReadonlyMap<string, Work>

/** Takes in the counters of one worker. `services` are all that it runs. */
export function countWork(works: Works, workerId: string, services: Iterable<ServiceStatus>, now: number): Works {
  const next = new Map(works)
  for (const { name, phase, counters } of services) {
    // The counters that go on are those of the worker that has it.
    if (phase !== 'standby') next.set(name, look(works.get(name), workerId, counters, now))
  }
  return next
}

function look(before: Work | undefined, workerId: string, counters: ServiceStatus['counters'], now: number): Work {
  const counted = { workerId, requests: counters.requests, bytes: counters.bytesIn + counters.bytesOut }
  // Each worker has counted for itself, so the first look at another one tells only where its counters stand.
  if (before?.counted?.workerId !== workerId) return { counted, at: now, perSecond: before?.perSecond ?? 0 }
  const elapsedMs = now - before.at
  // Two tellings of one moment, or a clock that was set back.
  if (elapsedMs <= 0) return { ...before, counted, at: now }
  // Workers of earlier versions begin again when a service comes back.
  const since = (count: number, then: number) => (count >= then ? count - then : count)
  const { requests, bytes } = before.counted
  const work = since(counted.requests, requests) + since(counted.bytes, bytes) / BYTES_PER_REQUEST
  const keep = Math.exp(-elapsedMs / RATE_MEMORY_MS)
  return { counted, at: now, perSecond: keep * before.perSecond + (1 - keep) * ((1000 * work) / elapsedMs) }
}

/** What is kept for the next supervisor, rounded, and taken up by it. */
export function rememberRates(works: Works): ReadonlyMap<string, number> {
  return new Map([...works].map(([name, { perSecond }]) => [name, Math.round(100 * perSecond) / 100]))
}

export function recallRates(rates: ReadonlyMap<string, number>): Works {
  return new Map([...rates].map(([name, perSecond]) => [name, { counted: null, at: 0, perSecond }]))
}

/** The part of a worker's CPU, in per cent of one core, that each of its services has. They add up to the whole. */
export function shareCPU(cpuPercent: number, names: readonly string[], works: Works): ReadonlyMap<string, number> {
  const weights = names.map((name) => IDLE_PER_SECOND + (works.get(name)?.perSecond ?? 0))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return new Map(names.map((name, i) => [name, (cpuPercent * (weights[i] ?? 0)) / total]))
}
