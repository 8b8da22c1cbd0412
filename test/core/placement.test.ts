import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type PlacedService, place } from '../../supervisor/core/placement.ts'
import type { Placement } from '../../supervisor/core/types.ts'

const service = (name: string, options: Partial<PlacedService> = {}): PlacedService => ({
  name,
  weight: 1,
  group: '',
  ...options,
})
const many = (count: number, from = 0) => Array.from({ length: count }, (_, i) => service(`svc${String(i + from)}`))
const none: Placement = new Map()

function shardsOf(placement: Placement): Map<number, string[]> {
  const shards = new Map<number, string[]>()
  for (const [name, shard] of placement) shards.set(shard, [...(shards.get(shard) ?? []), name])
  return shards
}

const sizes = (placement: Placement) => [...shardsOf(placement).values()].map((names) => names.length).sort((a, b) => a - b)

describe('place', () => {
  it('makes ceil(N / shard size) even shards of 57 services', () => {
    expect(sizes(place(many(57), none, { shardSize: 20 }))).toEqual([19, 19, 19])
  })

  it('evens out weights and not only counts', () => {
    const services = [service('heavy', { weight: 10 }), ...many(10)]
    const shards = shardsOf(place(services, none, { shardSize: 10 }))
    const withHeavy = [...shards.values()].find((names) => names.includes('heavy'))
    expect(withHeavy).toEqual(['heavy'])
  })

  it('keeps a group together when it fits', () => {
    const photos = ['photos', 'faces', 'thumbs'].map((name) => service(name, { group: 'photos' }))
    const placement = place([...many(17), ...photos], none, { shardSize: 10 })
    expect(new Set(photos.map(({ name }) => placement.get(name))).size).toBe(1)
  })

  it('splits a group that fits in no shard', () => {
    const group = many(12).map((each) => ({ ...each, group: 'big' }))
    expect(sizes(place(group, none, { shardSize: 8 }))).toEqual([4, 8])
  })

  it('puts a newcomer beside its group', () => {
    const grouped = [service('a', { group: 'g' }), ...many(5)]
    const before = place(grouped, none, { shardSize: 4 })
    const after = place([...grouped, service('b', { group: 'g' })], before, { shardSize: 4 })
    expect(after.get('b')).toBe(after.get('a'))
  })

  it('opens a shard when all are full, and moves nobody for it', () => {
    const before = place(many(40), none, { shardSize: 20 })
    const after = place(many(41), before, { shardSize: 20 })
    expect(sizes(after)).toEqual([1, 20, 20])
    for (const [name, shard] of before) expect(after.get(name)).toBe(shard)
  })

  it('moves only what a smaller shard size forces out', () => {
    const before = place(many(20), none, { shardSize: 20 })
    const after = place(many(20), before, { shardSize: 15 })
    expect(sizes(after)).toEqual([5, 15])
    expect([...before].filter(([name, shard]) => after.get(name) !== shard)).toHaveLength(5)
  })
})

describe('place, for any services and any past', () => {
  const aService = fc.record({
    name: fc.integer({ min: 0, max: 60 }).map((n) => `s${String(n)}`),
    weight: fc.integer({ min: 1, max: 9 }),
    group: fc.constantFrom('', '', 'a', 'b'),
  })
  const services = fc.uniqueArray(aService, { selector: ({ name }) => name, maxLength: 50 })
  const past = fc.dictionary(
    fc.integer({ min: 0, max: 60 }).map((n) => `s${String(n)}`),
    fc.integer({ min: 1, max: 6 }),
  )
  const shardSize = fc.integer({ min: 1, max: 12 })

  it('places each service once and never exceeds the shard size', () => {
    fc.assert(
      fc.property(services, past, shardSize, (given, before, size) => {
        const placement = place(given, new Map(Object.entries(before)), { shardSize: size })
        expect([...placement.keys()].sort()).toEqual(given.map(({ name }) => name).sort())
        expect(Math.max(0, ...sizes(placement))).toBeLessThanOrEqual(size)
      }),
    )
  })

  it('is settled: placing again changes nothing', () => {
    fc.assert(
      fc.property(services, past, shardSize, (given, before, size) => {
        const once = place(given, new Map(Object.entries(before)), { shardSize: size })
        expect(place(given, once, { shardSize: size })).toEqual(once)
      }),
    )
  })

  it('does not depend on the order of the services in the file', () => {
    fc.assert(
      fc.property(services, past, shardSize, (given, before, size) => {
        const previous = new Map(Object.entries(before))
        const sorted = (placement: Placement) => [...placement].sort()
        expect(sorted(place([...given].reverse(), previous, { shardSize: size }))).toEqual(
          sorted(place(given, previous, { shardSize: size })),
        )
      }),
    )
  })

  it('moves no other when a service comes or goes', () => {
    fc.assert(
      fc.property(services, shardSize, aService, (given, size, newcomer) => {
        const before = place(given, none, { shardSize: size })
        const others = given.filter(({ name }) => name !== newcomer.name)
        const without = place(others, before, { shardSize: size })
        const withNew = place([...others, newcomer], without, { shardSize: size })
        for (const { name } of others) {
          expect(without.get(name)).toBe(before.get(name))
          expect(withNew.get(name)).toBe(before.get(name))
        }
      }),
    )
  })

  it('needs no more shards than ceil(N / size) when nothing ran before', () => {
    fc.assert(
      fc.property(services, shardSize, (given, size) => {
        expect(shardsOf(place(given, none, { shardSize: size })).size).toBeLessThanOrEqual(Math.ceil(given.length / size))
      }),
    )
  })

  it('is even: without groups, two fresh shards differ by at most the heaviest service unless one is full', () => {
    fc.assert(
      fc.property(services, shardSize, (given, size) => {
        const loose = given.map((each) => ({ ...each, group: '' }))
        const weights = new Map(loose.map(({ name, weight }) => [name, weight]))
        const shards = [...shardsOf(place(loose, none, { shardSize: size })).values()]
        const open = shards.filter((names) => names.length < size)
        const totals = open.map((names) => names.reduce((sum, name) => sum + (weights.get(name) ?? 0), 0))
        if (totals.length < 2) return
        expect(Math.max(...totals) - Math.min(...totals)).toBeLessThanOrEqual(Math.max(...weights.values()))
      }),
    )
  })
})
