/** A day of traffic: how much of a core each service uses in each minute, and which services are deployed. */
import { Random } from './random.ts'

export const MINUTES = 24 * 60

/**
 * Median and spread of what services use on average, per cent of a core: heavy-tailed, as services are. The mean is 1.6 %, so
 * that twenty make a third of a core over the day, and two thirds in the evening; one in a hundred uses above 20 %.
 */
const MEDIAN_PERCENT = 0.5
const SIGMA = 1.6
const MOST_PERCENT = 60

/** Part of the services that are used for some hours a day, and hardly at all else. */
const SPORADIC_PART = 0.3
/** Part of the services that go during the day; as many come. */
const REPLACED_PART = 0.05
/** In a minute, of a service: three bursts a day. */
const BURST_CHANCE = 3 / MINUTES

export interface Traffic {
  readonly services: readonly string[]
  isDeployed(service: number, minute: number): boolean
  /** Per cent of one core; 0 when it is not deployed. */
  load(service: number, minute: number): number
}

/** So many services at midnight, and as many at the end of the day. The same seed makes the same day. */
export function makeTraffic(count: number, seed: number): Traffic {
  const random = new Random(seed)
  const replaced = Math.round(REPLACED_PART * count)
  const services = Array.from({ length: count + replaced }, (_, i) => `service-${String(i).padStart(4, '0')}`)
  const loads = new Float32Array(services.length * MINUTES)
  const [from, until] = [new Int32Array(services.length), new Int32Array(services.length).fill(MINUTES)]
  // Deployments come in batches of up to five: one reload each.
  for (let batch = 0; batch < replaced; batch += 5) {
    const minute = Math.floor(random.between(0.05, 0.95) * MINUTES)
    for (let i = batch; i < Math.min(replaced, batch + 5); i++) {
      until[Math.floor((i * count) / replaced)] = minute
      from[count + i] = minute
    }
  }
  for (let service = 0; service < services.length; service++) {
    const day = loads.subarray(service * MINUTES, (service + 1) * MINUTES)
    day.set(aDay(random))
    day.fill(0, 0, from[service])
    day.fill(0, until[service])
  }
  return {
    services,
    isDeployed: (service, minute) => minute >= (from[service] ?? 0) && minute < (until[service] ?? 0),
    load: (service, minute) => loads[service * MINUTES + minute] ?? 0,
  }
}

function aDay(random: Random): Float32Array {
  const average = Math.min(MOST_PERCENT, random.lognormal(MEDIAN_PERCENT, SIGMA))
  const day = random.next() < SPORADIC_PART ? sporadic(average, random) : diurnal(average, random)
  addBursts(day, average, random)
  // Load wanders by a fifth or so, over some minutes.
  let wander = 0
  for (let minute = 0; minute < MINUTES; minute++) {
    wander = 0.9 * wander + 0.08 * random.normal()
    day[minute] = (day[minute] ?? 0) * Math.exp(wander)
  }
  return day
}

/** A wave with its crest in the evening; for every fourth service at any time: other time zones, work, backups. */
function diurnal(average: number, random: Random): Float32Array {
  const crest = random.next() < 0.75 ? 20 * 60 + 90 * random.normal() : random.between(0, MINUTES)
  const swing = random.between(0.3, 0.95)
  return Float32Array.from(
    { length: MINUTES },
    (_, minute) => average * (1 + swing * Math.cos((2 * Math.PI * (minute - crest)) / MINUTES)),
  )
}

/** One to three pieces of an hour or so, at four times the average. */
function sporadic(average: number, random: Random): Float32Array {
  const day = new Float32Array(MINUTES).fill(0.02 * average)
  for (let piece = Math.ceil(random.between(0, 3)); piece > 0; piece--) {
    const begin = Math.floor(random.between(0, MINUTES))
    day.fill(4 * average, begin, begin + random.between(20, 120))
  }
  return day
}

/** A burst is minutes long and several times what the service uses else. */
function addBursts(day: Float32Array, average: number, random: Random): void {
  for (let minute = 0; minute < MINUTES; minute++) {
    if (random.next() >= BURST_CHANCE) continue
    const [height, end] = [Math.min(100, average * random.between(2, 8)), minute + random.lognormal(6, 0.5)]
    for (let at = minute; at < Math.min(end, MINUTES); at++) day[at] = (day[at] ?? 0) + height
  }
}
