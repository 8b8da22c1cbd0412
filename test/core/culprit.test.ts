/** Culprits: the rules by example, and the search for any one or two of them among up to twenty services. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PROTOCOL_VERSION } from '../../shared/protocol.ts'
import { judge, leaveSuspects, placeApart, release } from '../../supervisor/core/culprit.ts'
import { observe } from '../../supervisor/core/observe.ts'
import { defaultPatience } from '../../supervisor/core/patience.ts'
import {
  type Desired,
  type Event,
  type Observed,
  type Remembered,
  nothingObserved,
  nothingRemembered,
} from '../../supervisor/core/types.ts'
import { serviceStatus } from './serviceStatus.ts'

const policy = { ...defaultPatience, drainMs: 1000 }
const SECOND = 1000
const MINUTE = 60 * SECOND

/** Shards whose workers die when they are told to, or whenever a culprit has been up for a while; others come at once. */
class Shards {
  now = 1_000_000_000
  remembered: Remembered
  observed: Observed = nothingObserved
  /** The services of each worker that has died. */
  readonly deaths: string[][] = []
  readonly #culprits: ReadonlySet<string>
  /** How long each worker with a culprit lives, in turn. */
  readonly #lives: readonly number[]
  readonly #dueDeaths = new Map<string, number>()
  #workers = 0

  constructor(shards: Record<number, readonly string[]>, culprits: readonly string[] = [], lives: readonly number[] = [SECOND]) {
    const places = Object.entries(shards).flatMap(([shard, names]) => names.map((name) => [name, Number(shard)] as const))
    this.remembered = { ...nothingRemembered, placement: new Map(places) }
    this.#culprits = new Set(culprits)
    this.#lives = lives
    this.#tend()
  }

  get desired(): Desired {
    const services = [...this.remembered.placement].map(
      ([name, shard]) => [name, { shard, specHash: `${name} 1`, hasCredential: true }] as const,
    )
    return { phase: 'run', services: new Map(services), opening: new Set(), certificatesPerWeek: 50 }
  }

  get quarantined(): string[] {
    return [...this.remembered.culprits.quarantine.keys()].sort()
  }

  get suspected(): number[] {
    return [...this.remembered.culprits.suspects.keys()].sort()
  }

  /** The services of each shard, the shards in their order. */
  get sets(): string[][] {
    const sets = new Map<number, string[]>()
    for (const [name, shard] of this.remembered.placement) sets.set(shard, [...(sets.get(shard) ?? []), name].sort())
    return [...sets].sort(([a], [b]) => a - b).map(([, names]) => names)
  }

  /** The workers of these shards end at this moment. */
  kill(...shards: readonly number[]): void {
    for (const worker of [...this.observed.workers.values()].filter(({ shard }) => shards.includes(shard))) this.#end(worker.id)
    this.#tend()
  }

  /** Time passes, and what is due happens. Gives up when `most` workers have died. */
  wait(ms: number, most = Number.POSITIVE_INFINITY): void {
    const until = this.now + ms
    for (let wakeAt = this.#tend(); this.deaths.length < most; wakeAt = this.#tend()) {
      const next = Math.min(wakeAt, ...this.#dueDeaths.values())
      if (next > until) break
      this.now = Math.max(this.now, next)
      for (const [id, at] of this.#dueDeaths) if (at <= this.now) this.#end(id)
    }
    this.now = Math.max(this.now, until)
    this.#tend()
  }

  #tell(event: Event): void {
    this.observed = observe(this.observed, event, this.now, policy)
  }

  #end(id: string): void {
    this.#dueDeaths.delete(id)
    this.deaths.push([...(this.observed.workers.get(id)?.services.keys() ?? [])].sort())
    this.#tell({ type: 'workerExited', workerId: id, message: 'exit code 2' })
  }

  /** Judges, and gives a worker to each shard that has none and may have one. Returns when to look again. */
  #tend(): number {
    let wakeAt = Number.POSITIVE_INFINITY
    const look = (at: number) => {
      wakeAt = Math.min(wakeAt, at)
    }
    for (let verdict = this.#judge(look); verdict; verdict = this.#judge(look)) {
      const { culprits, placement, moves, judged } = verdict
      this.remembered = { ...this.remembered, culprits, placement, moves }
      this.observed = { ...this.observed, deaths: this.observed.deaths.filter((death) => !judged.includes(death)) }
      wakeAt = Number.POSITIVE_INFINITY
    }
    const taken = [...this.observed.workers.values(), ...this.observed.deaths].map(({ shard }) => shard)
    for (const shard of new Set(this.remembered.placement.values())) if (!taken.includes(shard)) this.#spawn(shard)
    // One that has just come up may have to be cleared at some time.
    this.#judge(look)
    return wakeAt
  }

  #judge(look: (at: number) => void) {
    return judge(this.remembered, this.desired, this.observed, this.now, look)
  }

  #spawn(shard: number): void {
    const id = `worker ${String(this.#workers++)}`
    const names = [...this.remembered.placement].filter(([, place]) => place === shard).map(([name]) => name)
    const hello = { protocolVersion: PROTOCOL_VERSION, workerId: id, shard, pid: 7, startTicks: 1, bootId: 'b', version: 'v' }
    const services = names.map((name) => serviceStatus(name, 'ready'))
    this.#tell({ type: 'workerFound', workerId: id, shard, process: null })
    this.#tell({ type: 'workerState', workerId: id, state: { hello, revision: 1, services } })
    const life = this.#lives[this.deaths.length % this.#lives.length] ?? 0
    if (names.some((name) => this.#culprits.has(name))) this.#dueDeaths.set(id, this.now + life)
  }
}

const others = ['x', 'y']

describe('a worker that dies', () => {
  it('twice is nothing to speak of, and neither is one that dies every ten minutes', () => {
    const shards = new Shards({ 1: ['a', 'b'], 2: others })
    shards.kill(1)
    shards.kill(1)
    shards.wait(10 * MINUTE)
    for (let i = 0; i < 50; i++) {
      shards.kill(1)
      shards.wait(10 * MINUTE)
    }
    expect([shards.sets, shards.suspected]).toEqual([[['a', 'b'], others], []])
  })

  it('three times within five minutes has its services split, after two seconds in which another death would clear it', () => {
    const shards = new Shards({ 1: ['a', 'b', 'c'], 2: others })
    for (let i = 0; i < 3; i++) {
      shards.wait(2 * MINUTE)
      shards.kill(1)
    }
    shards.wait(1999)
    expect([...shards.observed.workers.values()].map(({ shard }) => shard)).toEqual([2])
    shards.wait(1)
    expect(shards.sets).toEqual([['a', 'c'], others, ['b']])
    expect(shards.suspected).toEqual([1, 3])
  })

  it('every seven minutes is suspected in the end', () => {
    const shards = new Shards({ 1: ['a', 'b'], 2: others })
    for (let i = 0; i < 10 && shards.suspected.length === 0; i++) {
      shards.kill(1)
      shards.wait(7 * MINUTE)
    }
    expect(shards.sets).toEqual([['a'], others, ['b']])
  })

  it('before it had any service is not held against its services', () => {
    const shards = new Shards({ 1: ['a', 'b'], 2: others })
    const empty: Event[] = [
      { type: 'workerFound', workerId: 'w', shard: 1, process: null },
      { type: 'workerExited', workerId: 'w', message: 'exit code 1' },
    ]
    expect(empty.reduce((seen, event) => observe(seen, event, shards.now, policy), nothingObserved).deaths).toEqual([])
  })

  it('together with another is the doing of the machine, however often', () => {
    const shards = new Shards({ 1: ['a', 'b'], 2: others, 3: ['c'] })
    for (let i = 0; i < 20; i++) {
      shards.kill(1)
      shards.wait(1.9 * SECOND)
      shards.kill(2)
      shards.wait(30 * SECOND)
    }
    expect([shards.sets, shards.suspected]).toEqual([[['a', 'b'], others, ['c']], []])
  })

  it('because every worker does makes four shards of the only one at most, and quarantines nobody', () => {
    const shards = new Shards({ 1: Array.from({ length: 20 }, (_, i) => `s${String(i)}`) })
    for (let i = 0; i < 50; i++) {
      shards.kill(...new Set(shards.remembered.placement.values()))
      shards.wait(30 * SECOND)
    }
    expect(shards.sets.map(({ length }) => length)).toEqual([5, 5, 5, 5])
    expect(shards.quarantined).toEqual([])
  })
})

describe('suspects', () => {
  const split = () => {
    const shards = new Shards({ 1: ['a', 'b', 'c', 'd'], 2: others })
    for (let i = 0; i < 3; i++) shards.kill(1)
    shards.wait(2 * SECOND)
    return shards
  }

  it('are split again when they end their worker once, and cleared when it has lived for a quarter of an hour', () => {
    const shards = split()
    expect(shards.sets).toEqual([['a', 'c'], others, ['b', 'd']])
    shards.wait(10 * MINUTE)
    shards.kill(1)
    shards.wait(2 * SECOND)
    expect(shards.sets).toEqual([['a'], others, ['b', 'd'], ['c']])
    shards.wait(5 * MINUTE)
    expect(shards.suspected).toEqual([1, 4])
    shards.wait(10 * MINUTE)
    expect(shards.suspected).toEqual([])
    expect(shards.sets).toEqual([['a'], others, ['b', 'd'], ['c']])
  })

  it('get no company, neither by a reload nor by rebalancing', () => {
    const { remembered, observed, now } = split()
    const services = ['a', 'b', 'c', 'd', 'x', 'y', 'new'].map((name) => {
      return { name, weight: name === 'x' ? 100 : 1, group: '', spec: { specHash: `${name} 1` } }
    })
    const { placement } = placeApart(services, remembered, observed, { shardSize: 20 }, now)
    expect(placement.get('new')).toBe(2)
    const loaded = [1, 2, 3].map((shard) => ({ shard, cpuPercent: 50, services: [], cordoned: false, settledAt: 0 }))
    const { shards } = leaveSuspects({ shards: loaded, taken: new Set(), recentMoves: [] }, remembered.culprits, now)
    expect(shards.map(({ cpuPercent, cordoned }) => [cpuPercent, cordoned])).toEqual([
      [null, true],
      [50, false],
      [null, true],
    ])
  })

  it('take no part in moves that wait', () => {
    const shards = new Shards({ 1: ['a', 'b'], 2: ['x', 'y', 'z'] })
    const move = { why: '', queuedAt: shards.now, begunAt: null, problem: '' }
    const moves = { a: { ...move, from: 1, to: 2 }, x: { ...move, from: 2, to: 1 }, y: { ...move, from: 2, to: 9 } }
    shards.remembered = { ...shards.remembered, moves: new Map(Object.entries(moves)) }
    for (let i = 0; i < 3; i++) shards.kill(1)
    shards.wait(2 * SECOND)
    expect([...shards.remembered.moves.keys()]).toEqual(['y'])
  })
})

describe('a service that is alone', () => {
  it('is quarantined when it ends its worker twice, and says why', () => {
    const shards = new Shards({ 1: ['a', 'b'], 2: others }, ['a'])
    shards.wait(MINUTE, 4)
    expect(shards.quarantined).toEqual([])
    shards.wait(MINUTE)
    expect(shards.remembered.culprits.quarantine.get('a')).toEqual({
      since: expect.any(Number) as number,
      reason: 'its worker ended 2 times while no other service was in it, the last time: exit code 2',
      specHash: 'a 1',
    })
    expect(shards.sets).toEqual([others, ['b']])
    expect(shards.deaths).toEqual([['a', 'b'], ['a', 'b'], ['a', 'b'], ['a'], ['a']])
  })

  it('is not when there is no other worker: that may as well be the machine, and it harms nobody', () => {
    const shards = new Shards({ 1: ['a'] }, ['a'])
    shards.wait(MINUTE)
    expect(shards.deaths.length).toBeGreaterThan(10)
    expect(shards.quarantined).toEqual([])
  })

  it('is not when three are quarantined already', () => {
    const shards = new Shards({ 1: ['a'], 2: ['b'], 3: ['c'], 4: ['d'], 5: others })
    for (const shard of [1, 2, 3, 4]) {
      for (let i = 0; i < 5; i++) {
        shards.kill(shard)
        shards.wait(2 * SECOND)
      }
    }
    expect(shards.quarantined).toEqual(['a', 'b', 'c'])
  })

  it('is released by hand into a shard of its own, and quarantined again at the second death', () => {
    const shards = new Shards({ 1: ['a', 'b'], 2: others }, ['a'])
    shards.wait(5 * MINUTE)
    expect(() => release(shards.remembered, shards.observed, 'b', shards.now)).toThrow('b is not quarantined; these are: a')
    shards.remembered = { ...shards.remembered, ...release(shards.remembered, shards.observed, 'a', shards.now) }
    expect(shards.sets).toEqual([['a'], others, ['b']])
    const before = shards.deaths.length
    shards.wait(5 * MINUTE)
    expect(shards.deaths.slice(before)).toEqual([['a'], ['a']])
    expect(shards.quarantined).toEqual(['a'])
  })

  it('is released by a change of its configuration, and forgotten when it is removed', () => {
    const shards = new Shards({ 1: ['a', 'b'], 2: others }, ['a'])
    shards.wait(5 * MINUTE)
    const reload = (hashes: Record<string, string>) => {
      const services = Object.entries(hashes).map(([name, specHash]) => ({ name, weight: 1, group: '', spec: { specHash } }))
      const { culprits, placement } = placeApart(services, shards.remembered, shards.observed, { shardSize: 20 }, shards.now)
      return { quarantined: [...culprits.quarantine.keys()], placement: Object.fromEntries(placement), culprits }
    }
    const same = { a: 'a 1', b: 'b 1', x: 'x 1', y: 'y 1' }
    expect(reload(same)).toMatchObject({ quarantined: ['a'], placement: { b: 3, x: 2, y: 2 } })
    expect(reload(same).placement).not.toHaveProperty('a')
    const changed = reload({ ...same, a: 'a 2' })
    expect(changed).toMatchObject({ quarantined: [], placement: { a: 1, b: 3, x: 2, y: 2 } })
    expect([...changed.culprits.suspects.keys()]).toEqual([3, 1])
    expect(reload({ b: 'b 1' }).quarantined).toEqual([])
  })
})

/** See culprit.ts. */
function mostDeaths(services: number, culprits: number): number {
  const splits = Math.ceil(Math.log2(services))
  if (splits === 0) return 3
  return 3 + culprits * (splits - 1) + culprits * 2
}

describe('any one or two culprits among up to twenty services', () => {
  const aCase = fc.integer({ min: 1, max: 20 }).chain((count) => {
    const names = Array.from({ length: count }, (_, i) => `s${String(i)}`)
    return fc.record({
      names: fc.constant(names),
      culprits: fc.subarray(names, { minLength: 1, maxLength: Math.min(2, count) }),
      lives: fc.array(fc.integer({ min: 0, max: MINUTE }), { minLength: 1, maxLength: 20 }),
    })
  })

  it('are quarantined, and nobody else, within 3 + (log2 n + 1) deaths for each; no other shard loses its worker', () => {
    fc.assert(
      fc.property(aCase, ({ names, culprits, lives }) => {
        const shards = new Shards({ 1: names, 2: others }, culprits, lives)
        const most = mostDeaths(names.length, culprits.length)
        shards.wait(60 * MINUTE, most + 1)
        expect(shards.deaths.length).toBeLessThanOrEqual(most)
        expect(shards.quarantined).toEqual([...culprits].sort())
        const innocents = names.filter((name) => !culprits.includes(name))
        expect(shards.sets.flat().sort()).toEqual([...innocents, ...others].sort())
        expect(shards.sets).toContainEqual(others)
        expect(shards.deaths.filter((set) => set.some((name) => others.includes(name)))).toEqual([])
        const running = [...shards.observed.workers.values()].flatMap(({ services }) => [...services.keys()])
        expect(running.sort()).toEqual([...innocents, ...others].sort())
        expect(shards.suspected).toEqual([])
      }),
      { numRuns: 500 },
    )
  }, 60_000)

  it('are found as well, and nobody else, when something ends all workers now and then', () => {
    const troubles = fc.array(fc.integer({ min: 1, max: 5 * MINUTE }), { maxLength: 6 })
    fc.assert(
      fc.property(aCase, troubles, ({ names, culprits, lives }, pauses) => {
        const shards = new Shards({ 1: names, 2: others }, culprits, lives)
        for (const pause of pauses) {
          shards.wait(pause)
          shards.kill(...new Set(shards.remembered.placement.values()))
        }
        shards.wait(60 * MINUTE)
        expect(shards.quarantined).toEqual([...culprits].sort())
        const innocents = names.filter((name) => !culprits.includes(name))
        expect(shards.sets.flat().sort()).toEqual([...innocents, ...others].sort())
        expect(shards.suspected).toEqual([])
      }),
      { numRuns: 300 },
    )
  }, 60_000)
})
