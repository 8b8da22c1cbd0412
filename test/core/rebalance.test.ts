import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { place } from '../../supervisor/core/placement.ts'
import {
  type LoadedService,
  type LoadedShard,
  rebalance,
  type RebalancePolicy,
  type Snapshot,
} from '../../supervisor/core/rebalance.ts'
import type { Decision } from '../../shared/api.ts'

const MINUTE = 60_000
const NOW = 1_800_000_000_000

const policy: RebalancePolicy = {
  hotPercent: 80,
  coldPercent: 30,
  tolerance: 0.1,
  shardSize: 20,
  minShards: 1,
  maxShards: 0,
  serviceCooldownMs: 10 * MINUTE,
  shardCooldownMs: MINUTE,
  movesPerWindow: 20,
  windowMs: 10 * MINUTE,
}

const service = (name: string, cpuPercent: number, options: Partial<LoadedService> = {}): LoadedService => ({
  name,
  cpuPercent,
  group: '',
  pinned: false,
  ephemeral: false,
  movedAt: 0,
  ...options,
})

const total = (services: readonly LoadedService[]) => services.reduce((sum, { cpuPercent }) => sum + cpuPercent, 0)

const shard = (id: number, services: readonly LoadedService[], options: Partial<LoadedShard> = {}): LoadedShard => ({
  shard: id,
  cpuPercent: total(services),
  services,
  cordoned: false,
  settledAt: 0,
  ...options,
})

/** So many services of equal load, named by the letter and a number. */
const many = (letter: string, count: number, cpuPercent: number, options: Partial<LoadedService> = {}) =>
  Array.from({ length: count }, (_, i) => service(`${letter}${i + 1}`, cpuPercent, options))

const decide = (shards: readonly LoadedShard[], changes: Partial<RebalancePolicy> = {}, recentMoves: readonly number[] = []) =>
  rebalance({ shards, taken: new Set(), recentMoves }, { ...policy, ...changes }, NOW)

const told = ({ moves }: Decision) => moves.map(({ name, from, to }) => `${name}: ${from} -> ${to}`)

describe('a hot shard', () => {
  it('gives one of its two heavy services to the coolest shard', () => {
    const decision = decide([
      shard(1, [service('photos', 45), service('video', 40), ...many('a', 5, 1)]),
      shard(2, many('b', 5, 8)),
      shard(3, many('c', 5, 4)),
    ])
    expect(decision).toEqual({
      verdict: 'relieve',
      reason: 'shard 1 is hot (90 %)',
      moves: [{ name: 'video', from: 1, to: 3 }],
      expected: [
        { shard: 1, beforePercent: 90, afterPercent: 50 },
        { shard: 3, beforePercent: 20, afterPercent: 60 },
      ],
    })
  })

  it('gets a new shard beside it when no other has a place for its load', () => {
    const decision = decide([shard(1, [service('photos', 45), service('video', 45)]), shard(2, many('b', 5, 13))])
    expect(told(decision)).toEqual(['photos: 1 -> 3'])
  })

  it('takes the lowest free number for a new shard', () => {
    expect(told(decide([shard(2, [service('photos', 45), service('video', 45)])]))).toEqual(['photos: 2 -> 1'])
  })

  it('is relieved of many small services when it has no large one', () => {
    const decision = decide([shard(1, many('a', 60, 1.5)), shard(2, many('b', 5, 1))], { shardSize: 100, movesPerWindow: 50 })
    expect(decision.moves.length).toBeGreaterThan(10)
    expect(decision.expected[0]!.afterPercent).toBeLessThanOrEqual(72)
  })

  it('keeps two heavy services that were put there a moment ago, and says so', () => {
    const decision = decide([shard(1, many('a', 2, 45, { movedAt: NOW - MINUTE })), shard(2, many('b', 2, 5))])
    expect(decision).toMatchObject({ verdict: 'none', moves: [] })
    expect(decision.reason).toBe('shard 1 is hot (90 %), but all its services have moved within 10 min')
  })

  it('says that there are as many shards as allowed when only another would help', () => {
    const decision = decide([shard(1, many('a', 2, 60)), shard(2, many('b', 2, 60))], { maxShards: 2 })
    expect(decision.reason).toBe(
      'shard 1 is hot (120 %), but no move would help, and 2 shards are the most allowed; ' +
        'shard 2 is hot (120 %), but no move would help, and 2 shards are the most allowed',
    )
  })

  it('does not keep others from being levelled when nothing can be done for it', () => {
    const shards = [shard(1, [service('video', 95)]), shard(2, many('b', 4, 15)), shard(3, many('c', 4, 2))]
    const decision = decide(shards, { minShards: 3 })
    expect(decision.verdict).toBe('level')
    expect(new Set(decision.moves.map(({ from }) => from))).toEqual(new Set([2]))
  })
})

describe('a service that alone is hot', () => {
  it('gets a shard for itself, even where its neighbours hardly use anything', () => {
    const decision = decide([shard(1, [service('video', 95), ...many('a', 4, 0.1)]), shard(2, many('b', 4, 5))])
    expect(decision).toMatchObject({ verdict: 'relieve', moves: [{ name: 'video', from: 1, to: 3 }] })
  })

  it('is left alone afterwards, and nothing joins it', () => {
    const decision = decide([shard(1, [service('video', 95)]), shard(2, many('b', 4, 12)), shard(3, many('c', 4, 12))])
    expect(decision.reason).toBe('shard 1 is hot (95 %), but video has it for itself')
  })

  it('keeps its shard while it is busy, and loses it when it is cold', () => {
    const others = shard(2, many('b', 4, 2))
    expect(decide([shard(1, [service('video', 50)]), others]).verdict).toBe('none')
    expect(told(decide([shard(1, [service('video', 20)]), others]))).toEqual(['video: 1 -> 2'])
  })

  it('parts from another one', () => {
    const decision = decide([shard(1, [service('video', 95), service('photos', 90), ...many('a', 4, 1)])])
    expect(told(decision).sort()).toEqual(['photos: 1 -> 3', 'video: 1 -> 2'])
  })
})

describe('shards that differ', () => {
  it('are levelled while one is above the cold threshold', () => {
    const decision = decide([shard(1, many('a', 4, 15)), shard(2, many('b', 4, 5))])
    expect(decision).toMatchObject({
      verdict: 'level',
      reason: 'shard 1 has 60 %, the mean is 40 %',
      moves: [{ name: 'a1', from: 1, to: 2 }],
    })
  })

  it('are left alone within the tolerance', () => {
    expect(decide([shard(1, many('a', 4, 11)), shard(2, many('b', 4, 9.5))]).reason).toBe(
      'no shard is above 80 %, and they are level',
    )
  })

  it('are left alone while all are cold', () => {
    const cold = [shard(1, many('a', 4, 7)), shard(2, many('b', 4, 1, { ephemeral: true }))]
    expect(decide(cold, { minShards: 2 }).verdict).toBe('none')
  })

  it('exchange services when they are full', () => {
    const decision = decide([shard(1, many('a', 2, 30)), shard(2, many('b', 2, 5))], { shardSize: 2 })
    expect(told(decision)).toEqual(['a1: 1 -> 2', 'b1: 2 -> 1'])
    expect(decision.expected.map(({ afterPercent }) => afterPercent)).toEqual([35, 35])
  })

  it('do not move what is ephemeral', () => {
    const decision = decide([shard(1, many('a', 4, 15, { ephemeral: true })), shard(2, many('b', 4, 5))])
    expect(decision.verdict).toBe('none')
  })
})

describe('cold shards', () => {
  it('merge, the smaller into the larger', () => {
    const decision = decide([shard(1, many('a', 10, 2)), shard(2, many('b', 4, 2))])
    expect(decision).toMatchObject({ verdict: 'merge', reason: 'shard 2 is emptied into others: it is cold (8 %)' })
    expect(told(decision).sort()).toEqual(['b1: 2 -> 1', 'b2: 2 -> 1', 'b3: 2 -> 1', 'b4: 2 -> 1'])
  })

  it('wait for the smaller one to have rested, rather than move the larger one there', () => {
    const six = shard(1, many('a', 6, 1))
    const moved = (at: number) => shard(2, many('b', 2, 1, { movedAt: at }))
    expect(decide([six, moved(NOW - MINUTE)]).moves).toEqual([])
    expect(told(decide([six, moved(NOW - 11 * MINUTE)])).sort()).toEqual(['b1: 2 -> 1', 'b2: 2 -> 1'])
    // What never moves by itself is joined by the others.
    const ephemeral = shard(2, many('b', 2, 1, { ephemeral: true }))
    expect(decide([six, ephemeral]).moves).toHaveLength(6)
    expect(decide([shard(1, many('a', 6, 1), { cordoned: true }), moved(NOW - MINUTE)]).moves).toHaveLength(6)
  })

  it('leave what is pinned where it is', () => {
    const pinned = many('b', 1, 1, { pinned: true })
    expect(decide([shard(1, many('a', 6, 1)), shard(2, pinned, { cordoned: true })]).moves).toEqual([])
    expect(decide([shard(1, pinned), shard(2, many('a', 2, 45, { pinned: true }))]).reason).toContain(
      'shard 2 is hot (90 %), but all its services are pinned; "tsnsrv-sup unpin" lets them move',
    )
  })

  it('do not merge when an ephemeral service would have to move', () => {
    const withEphemeral = [service('once', 1, { ephemeral: true }), ...many('a', 3, 2)]
    expect(
      decide([shard(1, withEphemeral), shard(2, [...many('b', 3, 2), service('also', 1, { ephemeral: true })])]).moves,
    ).toEqual([])
  })

  it('do not merge into one that would be nearly hot', () => {
    const warm = many('a', 10, 4.3, { ephemeral: true })
    expect(decide([shard(1, warm), shard(2, many('b', 10, 2.8))]).verdict).toBe('merge')
    expect(decide([shard(1, warm), shard(2, many('b', 10, 2.98))]).verdict).toBe('none')
  })

  it('merge whole or not at all', () => {
    const shards = [shard(1, many('a', 10, 1)), shard(2, many('b', 8, 1))]
    expect(decide(shards, { movesPerWindow: 7 }).verdict).toBe('none')
    expect(decide(shards, { movesPerWindow: 8 }).moves).toHaveLength(8)
  })

  it('stay as many as the services need', () => {
    expect(decide([shard(1, many('a', 3, 1)), shard(2, many('b', 3, 1))], { shardSize: 5 }).verdict).toBe('none')
  })
})

describe('the limits on the number of shards', () => {
  it('opens shards up to the least, each with its part of the services', () => {
    const decision = decide([shard(1, many('a', 9, 1))], { minShards: 3 })
    expect(decision).toMatchObject({ verdict: 'scale', reason: expect.stringContaining('at least 3 shards') as string })
    expect(decision.moves.map(({ to }) => to).sort()).toEqual([2, 2, 2, 3, 3, 3])
  })

  it('makes a new shard no busier than the busiest of those that it is made from', () => {
    // Only the busy one of each may move.
    const busy = (letter: string) => [service(letter, 5), ...many(letter, 2, 0, { ephemeral: true })]
    const decision = decide([shard(1, busy('a')), shard(2, busy('b')), shard(3, many('c', 2, 0))], { minShards: 4, shardSize: 3 })
    expect(told(decision)).toEqual(['a: 1 -> 4'])
    expect(decision.expected.map(({ afterPercent }) => afterPercent)).toEqual([0, 5])
  })

  it('opens no more shards than there are services', () => {
    expect(new Set(decide([shard(1, many('a', 2, 1))], { minShards: 5 }).moves.map(({ to }) => to))).toEqual(new Set([2]))
  })

  it('keeps the least number of cold shards', () => {
    expect(decide([shard(1, many('a', 2, 1)), shard(2, many('b', 2, 1))], { minShards: 2 }).verdict).toBe('none')
  })

  it('empties a shard that is not cold when there are more than the most', () => {
    const decision = decide([shard(1, many('a', 2, 16)), shard(2, many('b', 2, 17))], { maxShards: 1 })
    expect(decision).toMatchObject({ verdict: 'merge', reason: 'shard 1 is emptied into others: there are more than 1 shards' })
  })
})

describe('a group', () => {
  const photos = many('photos', 3, 12, { group: 'photos' })

  it('moves as a whole', () => {
    const decision = decide([shard(1, [...photos, service('video', 50)]), shard(2, many('b', 2, 10))])
    expect(told(decision)).toEqual(['photos1: 1 -> 2', 'photos2: 1 -> 2', 'photos3: 1 -> 2'])
  })

  it('is taken apart only when nothing else helps', () => {
    const group = many('photos', 2, 45, { group: 'photos' })
    expect(told(decide([shard(1, group), shard(2, many('b', 2, 5))]))).toEqual(['photos1: 1 -> 2'])
    const beside = [shard(1, [...group, service('video', 30)]), shard(2, many('b', 2, 5))]
    expect(told(decide(beside)).slice(0, 1)).toEqual(['video: 1 -> 2'])
  })

  it('stays when one of it has moved a moment ago', () => {
    const rested = [...photos.slice(1), { ...photos[0]!, movedAt: NOW - MINUTE }]
    const decision = decide([shard(1, [...rested, service('video', 30)]), shard(2, many('b', 4, 5))])
    expect(told(decision)).toEqual(['video: 1 -> 2'])
  })
})

describe('a group that was split', () => {
  const part = (count: number, cpuPercent: number, options: Partial<LoadedService> = {}) =>
    many('x', count, cpuPercent, { group: 'x', ...options })
  const [x1, x2, x3] = part(3, 4) as [LoadedService, LoadedService, LoadedService]

  it('comes together where most of it is', () => {
    const decision = decide([shard(1, [x1, ...many('a', 4, 1)]), shard(2, [x2, x3, ...many('b', 10, 2)])], { minShards: 2 })
    expect(decision).toEqual({
      verdict: 'join',
      reason: 'group x was split, and there is a place for all of it in shard 2',
      moves: [{ name: 'x1', from: 1, to: 2 }],
      expected: [
        { shard: 1, beforePercent: 8, afterPercent: 4 },
        { shard: 2, beforePercent: 28, afterPercent: 32 },
      ],
    })
  })

  it('comes together elsewhere when there is no room where it is', () => {
    const shards = [shard(1, [x1, ...many('a', 4, 1)]), shard(2, [x2, x3, ...many('b', 3, 1)]), shard(3, many('c', 2, 1))]
    const decision = decide(shards, { shardSize: 5, minShards: 3 })
    expect(told(decision).sort()).toEqual(['x1: 1 -> 3', 'x2: 2 -> 3', 'x3: 2 -> 3'])
  })

  it('is the last that is decided: after a merge, for one', () => {
    const decision = decide([shard(1, [x1, ...many('a', 4, 1)]), shard(2, [x2, x3, ...many('b', 10, 2)])])
    expect(decision.verdict).toBe('merge')
  })

  const beside = (other: Partial<LoadedShard> = {}, load = 4) => [
    shard(1, [part(1, load)[0]!, ...many('a', 4, 1)]),
    shard(2, [x2, x3, ...many('b', 6, 1)], other),
    shard(3, many('c', 12, 1)),
  ]
  const [y1, y2, y3, y4] = many('y', 4, 4, { group: 'y' }) as [LoadedService, LoadedService, LoadedService, LoadedService]
  const pairs = [shard(1, [y1, y2, ...many('a', 3, 1)]), shard(2, [y3, y4, ...many('b', 3, 1)])]

  it.each<[string, LoadedShard[], Partial<RebalancePolicy>]>([
    ['while a shard is hot', [...beside(), shard(4, [service('video', 90)])], {}],
    ['while one of its shards is not known', beside({ cpuPercent: null }), {}],
    [
      'where it would have to go into a cordoned shard',
      [...beside({ cordoned: true }).slice(0, 2)],
      { shardSize: 6, minShards: 2 },
    ],
    ['where its load would make a shard nearly hot', beside({}, 62), { hotPercent: 70 }],
    ['when more would have to move than the budget allows', pairs, { movesPerWindow: 1, minShards: 2 }],
    ['when that would leave too few shards', [shard(1, [x1]), shard(2, [x2, x3]), shard(3, many('c', 12, 1))], {}],
  ])('stays as it is %s', (_, shards, changes) => {
    const decision = decide(shards, { minShards: 3, coldPercent: 0, tolerance: 0.1, ...changes })
    expect(decision).toMatchObject({ verdict: 'none', moves: [] })
  })

  it('stays as it is while one of it rests, and where an ephemeral one would have to move', () => {
    const group = (options: Partial<LoadedService>) => [
      shard(1, [{ ...x1, ...options }, ...many('a', 4, 1)]),
      shard(2, [{ ...x2, ...options }, x3, ...many('b', 6, 1)]),
    ]
    expect(decide(group({ movedAt: NOW - MINUTE }), { minShards: 2 }).verdict).toBe('none')
    expect(decide(group({ ephemeral: true }), { minShards: 2 }).verdict).toBe('none')
    const mixed = [shard(1, [{ ...x1, ephemeral: true }, ...many('a', 4, 1)]), shard(2, [x2, x3, ...many('b', 6, 1)])]
    expect(told(decide(mixed, { minShards: 2 })).sort()).toEqual(['x2: 2 -> 1', 'x3: 2 -> 1'])
  })
})

describe('what is not known well keeps still:', () => {
  const hot = many('a', 2, 45)
  const cool = many('b', 2, 5)

  it.each<[string, LoadedShard[]]>([
    ['a hot shard without samples', [shard(1, hot, { cpuPercent: null }), shard(2, cool, { settledAt: NOW })]],
    ['a hot shard in which something has just moved', [shard(1, hot, { settledAt: NOW - 1000 }), shard(2, cool)]],
    [
      'a hot shard, beside others just settled, when it may open none',
      [shard(1, hot), shard(2, cool, { settledAt: NOW - 1000 })],
    ],
    ['a hot shard, beside others without samples', [shard(1, hot), shard(2, cool, { cpuPercent: null })]],
    ['a hot shard, beside cordoned ones', [shard(1, hot), shard(2, cool, { cordoned: true })]],
    [
      'a hot shard with a service of absurd load',
      [shard(1, [service('x', Number.NaN), ...hot], { cpuPercent: 90 }), shard(2, cool)],
    ],
  ])('%s', (_, shards) => {
    expect(decide(shards, { maxShards: 2 })).toMatchObject({ verdict: 'none', moves: [] })
  })

  it('a cordoned shard gets nothing back in an exchange', () => {
    const shards = [shard(1, hot, { cordoned: true }), shard(2, cool)]
    expect(decide(shards, { shardSize: 2, maxShards: 2 }).moves).toEqual([])
    expect(decide(shards, { maxShards: 2 }).moves).toHaveLength(1)
  })

  it('nobody, when the budget is spent', () => {
    const shards = [shard(1, hot), shard(2, cool)]
    const decision = decide(shards, { movesPerWindow: 2 }, [NOW - MINUTE, NOW - 2 * MINUTE, NOW - 11 * MINUTE])
    // The older of the two leaves the window first.
    const free = new Date(NOW + 8 * MINUTE).toTimeString().slice(0, 5)
    expect(decision.reason).toBe(`not before ${free}: 2 moves in 10 min are the budget`)
    expect(decide(shards, { movesPerWindow: 2 }, [NOW - MINUTE, NOW - 11 * MINUTE]).moves).toHaveLength(1)
  })

  it('but not for long when the clock has been set back', () => {
    const moved = (at: number) => [
      shard(1, many('a', 2, 45, { movedAt: at }), { settledAt: at }),
      shard(2, cool, { settledAt: at }),
    ]
    expect(decide(moved(NOW + MINUTE / 2)).moves).toEqual([])
    expect(decide(moved(NOW + 24 * 60 * MINUTE)).moves).toHaveLength(1)
  })

  it('nobody beyond a twentieth of the services when no budget is given, but a full shard may move', () => {
    const spent = (services: number, moves: number) =>
      decide([shard(1, many('a', services, 0.1))], { shardSize: 10, movesPerWindow: null }, Array(moves).fill(NOW - 1)).reason
    expect(spent(100, 10)).toContain('10 moves in 10 min are the budget')
    expect(spent(100, 9)).not.toContain('budget')
    expect(spent(401, 21)).toContain('21 moves in 10 min are the budget')
    expect(spent(401, 20)).not.toContain('budget')
  })

  it('and says that nothing has been measured', () => {
    expect(decide([shard(1, hot, { cpuPercent: null })]).reason).toBe('no shard has been measured for long enough')
    expect(decide([]).reason).toBe('no shard has been measured for long enough')
  })

  it('and says how many shards it does not look at', () => {
    const decision = decide([shard(1, many('a', 2, 20)), shard(2, cool, { cpuPercent: null })])
    expect(decision.reason).toBe('no shard is above 80 %, and they are level; 1 of 2 shards are not looked at for now')
  })
})

/** What may happen between two decisions. Numbers pick among what there is, so that any sequence makes sense. */
type Happening =
  | { readonly type: 'wait'; readonly ms: number }
  | { readonly type: 'load'; readonly pick: number; readonly cpuPercent: number }
  | {
      readonly type: 'come'
      readonly cpuPercent: number
      readonly group: string
      readonly pinned: boolean
      readonly ephemeral: boolean
    }
  | { readonly type: 'go' | 'die' | 'recover' | 'cordon'; readonly pick: number }
  | { readonly type: 'absurd'; readonly pick: number; readonly cpuPercent: number }

/** Services, workers and a clock; decisions take effect at once. Loads are measured exactly. */
class World {
  now = NOW
  readonly services = new Map<string, LoadedService>()
  placement = new Map<string, number>()
  readonly settledAt = new Map<number, number>()
  readonly cordoned = new Set<number>()
  readonly dead = new Set<number>()
  /** What the next snapshot says of a service instead of its load. */
  absurd = new Map<string, number>()
  moves: number[] = []
  #born = 0
  readonly policy: RebalancePolicy

  constructor(policy: RebalancePolicy) {
    this.policy = policy
  }

  happen(happening: Happening): void {
    const names = [...this.services.keys()]
    const shards = [...new Set(this.placement.values())]
    this.absurd.clear()
    if (happening.type === 'wait') this.now += happening.ms
    if (happening.type === 'come') {
      const name = `s${++this.#born}`
      this.services.set(name, service(name, happening.cpuPercent, happening))
      this.place()
    }
    if (!('pick' in happening) || names.length === 0) return
    const name = names[happening.pick % names.length]!
    const id = shards[happening.pick % shards.length]!
    if (happening.type === 'load') this.services.set(name, { ...this.services.get(name)!, cpuPercent: happening.cpuPercent })
    if (happening.type === 'absurd') this.absurd.set(name, happening.cpuPercent)
    if (happening.type === 'go') this.services.delete(name)
    if (happening.type === 'go') this.place()
    if (happening.type === 'die') this.dead.add(id)
    if (happening.type === 'recover') this.settledAt.set(id, this.now)
    if (happening.type === 'recover') this.dead.delete(id)
    if (happening.type === 'cordon' && !this.cordoned.delete(id)) this.cordoned.add(id)
  }

  place(): void {
    const services = [...this.services.values()].map(({ name, group }) => ({ name, group, weight: 1 }))
    this.placement = new Map(place(services, this.placement, this.policy))
    for (const id of this.placement.values()) if (!this.settledAt.has(id)) this.settledAt.set(id, this.now)
  }

  snapshot(): Snapshot {
    const members = new Map<number, LoadedService[]>()
    for (const [name, id] of this.placement) {
      const loaded = this.services.get(name)!
      const seen = { ...loaded, cpuPercent: this.absurd.get(name) ?? loaded.cpuPercent }
      members.set(id, [...(members.get(id) ?? []), seen])
    }
    const shards = [...members].map(([id, services]) =>
      shard(id, services, {
        cpuPercent: this.dead.has(id)
          ? null
          : 2 + services.reduce((sum, { name }) => sum + this.services.get(name)!.cpuPercent, 0),
        cordoned: this.cordoned.has(id),
        settledAt: this.settledAt.get(id)!,
      }),
    )
    return { shards, taken: this.cordoned, recentMoves: this.moves }
  }

  decide(): Decision {
    return rebalance(this.snapshot(), this.policy, this.now)
  }

  carryOut({ moves }: Decision): void {
    for (const { name, from, to } of moves) {
      this.services.set(name, { ...this.services.get(name)!, movedAt: this.now })
      this.placement.set(name, to)
      for (const id of [from, to]) this.settledAt.set(id, this.now)
      this.moves.push(this.now)
    }
  }
}

describe('rebalance, whatever happens', () => {
  const pick = fc.nat({ max: 1000 })
  const load = fc.oneof(
    { weight: 4, arbitrary: fc.double({ min: 0, max: 3, noNaN: true }) },
    { weight: 2, arbitrary: fc.double({ min: 3, max: 40, noNaN: true }) },
    { weight: 1, arbitrary: fc.double({ min: 40, max: 150, noNaN: true }) },
  )
  const come = fc.record({
    type: fc.constant('come' as const),
    cpuPercent: load,
    group: fc.constantFrom('', '', '', 'x', 'y'),
    pinned: fc.constantFrom(false, false, false, false, true),
    ephemeral: fc.constantFrom(false, false, false, true),
  })
  const happening: fc.Arbitrary<Happening> = fc.oneof(
    { weight: 8, arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.integer({ min: 1000, max: 5 * MINUTE }) }) },
    // The clock is set back or forth.
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.integer({ min: -180 * MINUTE, max: 180 * MINUTE }) }),
    },
    { weight: 8, arbitrary: fc.record({ type: fc.constant('load' as const), pick, cpuPercent: load }) },
    { weight: 4, arbitrary: come },
    {
      weight: 6,
      arbitrary: fc.record({
        type: fc.constantFrom('go' as const, 'die' as const, 'recover' as const, 'recover' as const, 'cordon' as const),
        pick,
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        type: fc.constant('absurd' as const),
        pick,
        cpuPercent: fc.constantFrom(Number.NaN, -1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
      }),
    },
  )
  const policies = fc
    .record({
      hotPercent: fc.constantFrom(60, 80, 100),
      coldPercent: fc.constantFrom(0, 10, 30, 50),
      tolerance: fc.constantFrom(0.05, 0.1, 0.2),
      shardSize: fc.integer({ min: 2, max: 20 }),
      minShards: fc.integer({ min: 1, max: 4 }),
      maxShards: fc.constantFrom(0, 0, 4, 8),
      serviceCooldownMs: fc.constantFrom(0, 5 * MINUTE, 30 * MINUTE),
      shardCooldownMs: fc.constantFrom(0, MINUTE),
      movesPerWindow: fc.integer({ min: 1, max: 30 }),
    })
    .map((changes) => ({ ...policy, ...changes }))
  const history = fc.record({
    policy: policies,
    first: fc.array(come, { minLength: 1, maxLength: 40 }),
    happenings: fc.array(happening, { maxLength: 150, size: 'max' }),
  })
  type History = typeof history extends fc.Arbitrary<infer T> ? T : never

  /** Plays the history; `look` sees the world before each decision is carried out. */
  function play({ policy, first, happenings }: History, look: (world: World, decision: Decision) => void): World {
    const world = new World(policy)
    for (const newcomer of first) world.happen(newcomer)
    for (const next of happenings) {
      world.happen(next)
      const decision = world.decide()
      look(world, decision)
      world.carryOut(decision)
    }
    return world
  }

  const property = (look: (world: World, decision: Decision) => void) =>
    fc.assert(
      fc.property(history, (given) => void play(given, look)),
      { numRuns: 300 },
    )

  const near = (at: number, span: number, now: number) => Math.abs(now - at) < span

  it('moves each service at most once, from where it is', () => {
    property(({ placement }, { moves }) => {
      expect(new Set(moves.map(({ name }) => name)).size).toBe(moves.length)
      for (const { name, from, to } of moves) {
        expect(placement.get(name)).toBe(from)
        expect(to).not.toBe(from)
      }
    })
  })

  it('moves nobody that is pinned', () => {
    property(({ services }, { moves }) => {
      expect(moves.filter(({ name }) => services.get(name)!.pinned)).toEqual([])
    })
  })

  it('never exceeds the shard size or the most shards', () => {
    property(({ placement, policy: { shardSize, maxShards } }, { moves }) => {
      const before = new Set(placement.values()).size
      const after = new Map(placement)
      for (const { name, to } of moves) after.set(name, to)
      const sizes = new Map<number, number>()
      for (const id of after.values()) sizes.set(id, (sizes.get(id) ?? 0) + 1)
      expect(Math.max(0, ...sizes.values())).toBeLessThanOrEqual(shardSize)
      if (maxShards > 0) expect(sizes.size).toBeLessThanOrEqual(Math.max(maxShards, before))
    })
  })

  it('moves nobody within its cooldown, and no more than the budget within a window', () => {
    property(({ services, now, moves: before, policy }, { moves }) => {
      for (const { name } of moves) expect(near(services.get(name)!.movedAt, policy.serviceCooldownMs, now)).toBe(false)
      const recent = before.filter((at) => near(at, policy.windowMs, now)).length
      if (moves.length > 0) expect(recent + moves.length).toBeLessThanOrEqual(policy.movesPerWindow ?? Infinity)
    })
  })

  it('touches no shard that is dead, unsettled or told absurd things of, and puts nothing into a cordoned one', () => {
    property((world, { moves }) => {
      const { dead, settledAt, cordoned, absurd, placement, now, policy } = world
      const blind = new Set([...absurd.keys()].map((name) => placement.get(name)))
      const existing = new Set(placement.values())
      for (const { from, to } of moves) {
        expect(cordoned.has(to)).toBe(false)
        for (const id of [from, to].filter((touched) => existing.has(touched))) {
          expect(dead.has(id) || blind.has(id)).toBe(false)
          expect(near(settledAt.get(id)!, policy.shardCooldownMs, now)).toBe(false)
        }
      }
    })
  })

  it('expects no higher peak of the shards it touches, unless it merges below what is hot', () => {
    property(({ policy }, { verdict, expected, moves }) => {
      if (moves.length === 0) return
      const before = Math.max(...expected.map(({ beforePercent }) => beforePercent))
      const after = Math.max(...expected.map(({ afterPercent }) => afterPercent))
      expect(after).toBeLessThanOrEqual(verdict === 'merge' || verdict === 'join' ? Math.max(before, policy.hotPercent) : before)
    })
  })

  it('does not split a group but from a hot shard, and moves no ephemeral service for less', () => {
    property(({ services, placement, policy }, { moves, verdict, expected }) => {
      if (verdict === 'relieve') return
      const moved = new Set(moves.map(({ name }) => name))
      for (const { name, from } of moves) {
        const { group, ephemeral } = services.get(name)!
        expect(ephemeral).toBe(false)
        if (group === '') continue
        for (const [other, id] of placement)
          if (id === from && services.get(other)!.group === group) expect(moved.has(other)).toBe(true)
      }
      for (const { afterPercent, beforePercent } of expected)
        expect(afterPercent).toBeLessThanOrEqual(Math.max(beforePercent, policy.hotPercent))
    })
  })

  it('decides the same whatever the order of shards and services', () => {
    property((world, decision) => {
      const { shards, taken, recentMoves } = world.snapshot()
      const turned = shards.toReversed().map((each) => ({ ...each, services: each.services.toReversed() }))
      expect(rebalance({ shards: turned, taken, recentMoves: recentMoves.toReversed() }, world.policy, world.now)).toEqual(
        decision,
      )
    })
  })

  /**
   * Loads that do not change: each service moves at most twice on average (to where it belongs, and once more when shards
   * merge), and after half a day nothing moves any more. The argument for finite is in rebalance.ts.
   */
  it('comes to rest under constant load', { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(history, (given) => {
        const world = play(given, () => undefined)
        world.absurd.clear()
        world.dead.clear()
        const before = world.moves.length
        for (let minute = 0; minute < 24 * 60; minute += 2) {
          world.now += 2 * MINUTE
          const decision = world.decide()
          if (minute > 12 * 60) expect(decision.moves).toEqual([])
          world.carryOut(decision)
        }
        expect(world.moves.length - before).toBeLessThanOrEqual(2 * world.services.size)
      }),
      { numRuns: 50 },
    )
  })
})

describe('groups scattered over shards, under constant load', () => {
  const GROUPS = ['x', 'y', 'z']
  const scattered = fc.record({
    policy: fc.record({
      minShards: fc.integer({ min: 1, max: 4 }),
      coldPercent: fc.constantFrom(0, 10, 30),
      shardSize: fc.integer({ min: 4, max: 20 }),
      movesPerWindow: fc.integer({ min: 2, max: 20 }),
    }),
    services: fc.array(
      fc.record({
        group: fc.constantFrom('', ...GROUPS),
        // Few are ever hot together: a hot shard may split a group.
        cpuPercent: fc.oneof(
          { weight: 9, arbitrary: fc.double({ min: 0, max: 3, noNaN: true }) },
          { weight: 1, arbitrary: fc.double({ min: 3, max: 60, noNaN: true }) },
        ),
        shard: fc.integer({ min: 1, max: 5 }),
      }),
      { minLength: 4, maxLength: 40, size: 'max' },
    ),
  })

  /** In how many shards each group is, beyond the one that it needs. */
  const parts = ({ services, placement }: World) =>
    GROUPS.reduce((sum, group) => {
      const members = [...services.values()].filter((member) => member.group === group)
      return sum + Math.max(0, new Set(members.map(({ name }) => placement.get(name))).size - 1)
    }, 0)

  /** Groups in several shards although one of these has a place for the rest. */
  function lonely(world: World): string[] {
    const { shards } = world.snapshot()
    const { hotPercent, tolerance, shardSize, movesPerWindow, minShards } = world.policy
    if (shards.some(({ cpuPercent }) => (cpuPercent ?? 0) > hotPercent)) return []
    return GROUPS.filter((group) =>
      shards.some(({ shard: home, cpuPercent, services }) => {
        if (!services.some((member) => member.group === group)) return false
        const others = shards.filter(({ shard: id }) => id !== home)
        const rest = others.flatMap((other) => other.services.filter((member) => member.group === group))
        const ended = others.filter((other) => other.services.every((member) => member.group === group)).length
        return (
          rest.length > 0 &&
          rest.length <= (movesPerWindow ?? Infinity) &&
          services.length + rest.length <= shardSize &&
          (cpuPercent ?? 0) + total(rest) < hotPercent * (1 - tolerance) - 1 &&
          shards.length - ended >= minShards
        )
      }),
    )
  }

  it('come together, never apart again once no shard is hot, and then nothing moves', { timeout: 60_000 }, () => {
    let joined = 0
    fc.assert(
      fc.property(scattered, ({ policy: changes, services }) => {
        const world = new World({ ...policy, ...changes })
        for (const [i, { group, cpuPercent, shard: id }] of services.entries()) {
          const name = `s${i}`
          world.services.set(name, service(name, cpuPercent, { group }))
          if ([...world.placement.values()].filter((other) => other === id).length < changes.shardSize)
            world.placement.set(name, id)
        }
        world.place()
        let calm = false
        for (let minute = 0; minute < 24 * 60; minute += 2) {
          world.now += 2 * MINUTE
          const decision = world.decide()
          const left = parts(world)
          calm ||= world.snapshot().shards.every(({ cpuPercent }) => (cpuPercent ?? 0) <= policy.hotPercent)
          if (decision.verdict === 'join') joined++
          world.carryOut(decision)
          if (calm) expect(parts(world)).toBeLessThanOrEqual(left)
          if (minute > 12 * 60) expect(decision.moves).toEqual([])
        }
        expect(lonely(world)).toEqual([])
        expect(world.moves.length).toBeLessThanOrEqual(3 * world.services.size)
      }),
      { numRuns: 50 },
    )
    expect(joined).toBeGreaterThan(15)
  })
})

it('decides for 5,000 services in a few milliseconds', () => {
  const shards = Array.from({ length: 250 }, (_, i) => {
    // Loads from idle to half a core, the same in each run.
    const services = Array.from({ length: 20 }, (_, j) => service(`s${i}-${j}`, ((i * 7 + j * 13) % 40) ** 3 / 4000))
    return shard(i + 1, services)
  })
  const times = Array.from({ length: 20 }, () => {
    const begun = performance.now()
    expect(decide(shards, { movesPerWindow: 500 }).moves.length).toBeGreaterThan(10)
    return performance.now() - begun
  })
  // 20 ms are the goal, and bench/research/sim measures it. Here the machine is busy with other tests.
  expect(Math.min(...times)).toBeLessThan(100)
})
