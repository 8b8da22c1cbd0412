/**
 * Culprits: a service that ends its worker ends everybody in it. When a worker dies again and again, its services are split
 * in two shards; the half that dies again is split again, until the culprit is alone and is quarantined. The half that lives
 * is cleared, and rebalancing merges it with others when it likes. Halving under restart intensity: OTP supervisors give up
 * on a child that fails too often, but here the child is a set, and only one of it fails.
 *
 * What counts as a service's doing:
 * - any end that the worker was not told to come to, a silent one's that had to be killed too: what hangs a worker is as bad;
 * - but no end of a worker that had no service;
 * - and none within two seconds of an end in another shard, which is the machine's (out of memory, a kill of all). Two halves
 *   of one search may end together, as there may be two culprits; only when all of three or more do, it is the machine again.
 *
 * How much it takes: three ends within five minutes or so to suspect a set, then one for each further split, as splitting in
 * vain does no harm. But two of a service that is alone, and another worker that lived meanwhile: what is quarantined stays
 * off. So one culprit among n costs 3 + (log2 n - 1) + 2 ends, two at most 3 + 2 (log2 n - 1) + 4, logarithms rounded up; a
 * service that has always been alone costs 3.
 *
 * Pure. What is decided is written before it is used; until then the dead worker is not replaced (see reconcile).
 */
import type { Decision } from '../../shared/api.ts'
import type { Culprits, Death, JudgedDeath, Quarantine } from './culpritRecord.ts'
import { type PlacedService, place } from './placement.ts'
import { OrderError } from './ports.ts'
import type { LoadedShard, Snapshot } from './rebalance.ts'
import { primaryWorkers } from './reconcile.ts'
import { noFailures, recordFailure } from './restart.ts'
import { freshShard, takenNumbers } from './shardNumbers.ts'
import type { Desired, Move, Moves, Observed, Placement, Remembered } from './types.ts'
import {
  DEATHS_TOGETHER_MS,
  DEATH_INTENSITY,
  SUSPECT_FROM,
  CLEARED_AFTER_MS,
  QUARANTINE_FROM,
  MOST_QUARANTINED,
  DEATH_MEMORY_MS,
  MOST_DEATHS,
} from './tuning.ts'

/** What is to be remembered from now on, and which deaths that answers. */
export interface Judgement {
  readonly culprits: Culprits
  readonly placement: Placement
  readonly moves: Moves
  readonly judged: readonly Death[]
  /** What was done, for the operator. */
  readonly decisions: readonly Decision[]
  readonly quarantined: readonly string[]
}

/** What the deaths that were told, and the time that has passed, lead to; null when to nothing now. */
export function judge(
  remembered: Remembered,
  desired: Desired,
  observed: Observed,
  now: number,
  wakeAt: (at: number) => void,
): Judgement | null {
  if (observed.deaths.length === 0 && remembered.culprits.suspects.size === 0) return null
  const round = new JudgementRound(remembered, desired, observed, now)
  for (const death of observed.deaths) {
    const due = death.at + DEATHS_TOGETHER_MS
    // A clock that was set back must not keep a worker from coming back.
    if (now >= death.at && now < due && round.isGrave(death)) wakeAt(due)
    else round.judge(death)
  }
  for (const shard of remembered.culprits.suspects.keys()) round.clear(shard, wakeAt)
  return round.result()
}

class JudgementRound {
  readonly #remembered: Remembered
  readonly #desired: Desired
  readonly #observed: Observed
  readonly #now: number
  /** Those remembered, and those that wait to be judged. */
  readonly #deaths: readonly JudgedDeath[]
  #past: readonly JudgedDeath[]
  readonly #suspects: Map<number, number>
  readonly #quarantine: Map<string, Quarantine>
  readonly #placement: Map<string, number>
  readonly #moves: Map<string, Move>
  readonly #judged: Death[] = []
  readonly #decisions: Decision[] = []
  readonly #quarantined: string[] = []
  #changed = false

  constructor(remembered: Remembered, desired: Desired, observed: Observed, now: number) {
    const { culprits, placement, moves } = remembered
    this.#remembered = remembered
    this.#desired = desired
    this.#observed = observed
    this.#now = now
    this.#past = culprits.deaths
    this.#suspects = new Map(culprits.suspects)
    this.#quarantine = new Map(culprits.quarantine)
    this.#placement = new Map(placement)
    this.#moves = new Map(moves)
    this.#deaths = [...culprits.deaths, ...observed.deaths.map((death) => this.#inSearch(death))]
  }

  result(): Judgement | null {
    if (!this.#changed) return null
    const deaths = this.#past.filter(({ at }) => this.#now - at < DEATH_MEMORY_MS).slice(-MOST_DEATHS)
    return {
      culprits: { deaths, suspects: this.#suspects, quarantine: this.#quarantine },
      placement: this.#placement,
      moves: this.#moves,
      judged: this.#judged,
      decisions: this.#decisions,
      quarantined: this.#quarantined,
    }
  }

  /** Whether it may lead to more than being remembered. */
  isGrave(death: Death): boolean {
    return this.#suspects.has(death.shard) || intensity([...this.#earlier(death), death]) >= SUSPECT_FROM
  }

  judge(told: Death): void {
    const death = this.#inSearch(told)
    this.#changed = true
    this.#judged.push(told)
    const earlier = this.#earlier(death).filter((other) => !this.#isMachines(other))
    this.#past = [...this.#past, death]
    const suspects = this.#accused(death)
    if (suspects.length === 0 || this.#isMachines(death)) return
    const deaths = [...earlier.filter(({ search }) => search === death.search), death]
    if (death.search === null && intensity(deaths) < SUSPECT_FROM) return
    const alone = deaths.filter(({ services, witnessed }) => services.length === 1 && witnessed)
    const [name] = alone.includes(death) ? suspects : []
    const isProven = alone.length >= QUARANTINE_FROM && this.#quarantine.size < MOST_QUARANTINED
    if (name !== undefined && isProven) this.#shutAway(name, alone)
    else this.#split(death, suspects, deaths.length)
  }

  /** Ends the suspicion of a shard that is empty, or whose worker has lived for long enough. */
  clear(shard: number, wakeAt: (at: number) => void): void {
    const worker = primaryWorkers(this.#observed.workers.values()).get(shard)
    if ([...this.#placement.values()].includes(shard)) {
      if (worker?.phase !== 'ready') return
      const at = worker.since + CLEARED_AFTER_MS
      if (this.#now < at) {
        wakeAt(at)
        return
      }
      this.#past = this.#past.filter((death) => death.shard !== shard)
    }
    this.#changed = true
    this.#suspects.delete(shard)
  }

  /** One half stays, the other goes into a shard of its own. The worker is dead, so nothing has to be drained. */
  #split({ shard, at }: Death, suspects: readonly string[], deaths: number): void {
    const culprits = { ...this.#remembered.culprits, suspects: this.#suspects }
    const fresh = freshShard(takenNumbers({ ...this.#remembered, placement: this.#placement, culprits }, this.#observed))
    // Those that were not in the worker go half and half as well, or the suspects would not become fewer.
    const others = [...this.#placement].flatMap(([name, place]) => (place === shard && !suspects.includes(name) ? [name] : []))
    const leaving = [...[...suspects].sort(), ...others.sort()].filter((_, i) => i % 2 === 1)
    if (leaving.length === 0) return
    for (const name of leaving) this.#placement.set(name, fresh)
    const search = this.#suspects.get(shard) ?? at
    for (const half of [shard, fresh]) this.#suspects.set(half, search)
    // Where they were to go they would be a danger to others, and others here.
    for (const [name, { to, begunAt }] of this.#moves) {
      if (suspects.includes(name) || (to === shard && begunAt === null)) this.#moves.delete(name)
    }
    this.#decide(
      `the worker of shard ${String(shard)} ended ${times(deaths)} with the same services in it (${suspects.join(', ')}): ` +
        `they are split, to find the one that ends it`,
      leaving.map((name) => ({ name, from: shard, to: fresh })),
    )
  }

  #shutAway(name: string, deaths: readonly Death[]): void {
    const wanted = this.#desired.services.get(name)
    if (!wanted) return
    const last = deaths.at(-1)?.why ?? ''
    const reason = `its worker ended ${times(deaths.length)} while no other service was in it, the last time: ${last}`
    this.#quarantine.set(name, { since: this.#now, reason, specHash: wanted.specHash })
    this.#quarantined.push(name)
    this.#placement.delete(name)
    this.#moves.delete(name)
    this.#decide(`${name} is quarantined: ${reason}`, [])
  }

  #decide(reason: string, moves: Decision['moves']): void {
    this.#decisions.push({ verdict: 'corner', reason, moves, expected: [] })
  }

  /** The services of the dead worker that still belong to its shard. */
  #accused({ shard, services }: Death): string[] {
    return services.filter((name) => this.#placement.get(name) === shard && this.#desired.services.has(name))
  }

  /** Ends of the same shard with any of the same services: its number may have been another shard's. */
  #earlier({ shard, services }: Death): JudgedDeath[] {
    return this.#past.filter((other) => other.shard === shard && other.services.some((name) => services.includes(name)))
  }

  #inSearch(death: Death): JudgedDeath {
    return { ...death, search: this.#suspects.get(death.shard) ?? null, witnessed: this.#isWitnessed(death) }
  }

  /** Whether something bigger than a service must have ended it: see above. */
  #isMachines({ shard, at, search }: JudgedDeath): boolean {
    const together = this.#deaths.filter((other) => other.shard !== shard && Math.abs(other.at - at) < DEATHS_TOGETHER_MS)
    if (together.some((other) => search === null || other.search !== search)) return true
    const dead = new Set(together.map((other) => other.shard)).add(shard)
    const lives = [...this.#suspects].some(([other, known]) => known === search && !dead.has(other))
    return dead.size >= 3 && !lives
  }

  #isWitnessed({ shard, at }: Death): boolean {
    return [...this.#observed.workers.values()].some(
      (worker) => worker.shard !== shard && worker.phase === 'ready' && worker.since <= at && worker.services.size > 0,
    )
  }
}

/** Sets a service free: alone in a shard, and suspected still. Throws OrderError when it is not quarantined. */
export function release(remembered: Remembered, observed: Observed, name: string, now: number): Partial<Remembered> {
  const { culprits } = remembered
  if (!culprits.quarantine.has(name)) {
    const names = [...culprits.quarantine.keys()].sort().join(', ')
    throw new OrderError(`${name} is not quarantined; ${names === '' ? 'no service is' : `these are: ${names}`}`)
  }
  return setFree(remembered, observed, [name], now)
}

function setFree(
  remembered: Remembered,
  observed: Observed,
  names: readonly string[],
  now: number,
): Pick<Remembered, 'culprits' | 'placement'> {
  const placement = new Map(remembered.placement)
  const suspects = new Map(remembered.culprits.suspects)
  const quarantine = new Map(remembered.culprits.quarantine)
  for (const name of names) {
    const shard = freshShard(takenNumbers({ ...remembered, placement }, observed))
    quarantine.delete(name)
    placement.set(name, shard)
    suspects.set(shard, now)
  }
  return { culprits: { ...remembered.culprits, suspects, quarantine }, placement }
}

/**
 * Places the services of a configuration as `place` does, but not those in quarantine, and nothing new among suspects. Who is
 * in quarantine and has changed since is set free.
 */
export function placeApart(
  services: readonly (PlacedService & { readonly spec: { readonly specHash: string } })[],
  remembered: Remembered,
  observed: Observed,
  { shardSize }: { readonly shardSize: number },
  now: number,
): Pick<Remembered, 'culprits' | 'placement'> {
  const hashes = new Map(services.map(({ name, spec }) => [name, spec.specHash]))
  const quarantine = new Map([...remembered.culprits.quarantine].filter(([name]) => hashes.has(name)))
  const changed = [...quarantine].filter(([name, { specHash }]) => hashes.get(name) !== specHash).map(([name]) => name)
  const { culprits, placement } = setFree(
    { ...remembered, culprits: { ...remembered.culprits, quarantine } },
    observed,
    changed,
    now,
  )
  const free = services.filter(({ name }) => !culprits.quarantine.has(name))
  const { cordoned, pinned } = remembered.rebalancing
  // Where all are pinned, they are to be alone.
  const open = new Set([...placement].filter(([name]) => !pinned.has(name)).map(([, shard]) => shard))
  const alone = [...placement.values()].filter((shard) => !open.has(shard))
  const closed = new Set([...cordoned, ...culprits.suspects.keys(), ...alone])
  const taken = takenNumbers({ ...remembered, culprits, placement }, observed)
  return { culprits, placement: place(free, placement, { shardSize, closed, taken }) }
}

/** The picture that rebalancing decides on, in which suspects stay where they are and get no company. */
export function leaveSuspects({ shards, ...rest }: Snapshot, { suspects }: Culprits, now: number): Snapshot {
  const left = shards.map((loaded): LoadedShard => {
    if (!suspects.has(loaded.shard)) return loaded
    const services = loaded.services.map((service) => ({ ...service, movedAt: now }))
    return { ...loaded, services, cpuPercent: null, cordoned: true }
  })
  return { ...rest, shards: left }
}

const intensity = (deaths: readonly Death[]): number =>
  deaths.reduce((count, { at }) => recordFailure(count, at, DEATH_INTENSITY), noFailures).count

const times = (count: number): string => (count === 1 ? 'once more' : `${String(count)} times`)
