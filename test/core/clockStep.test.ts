/** The clock of the machine is set while the supervisor runs, or between two of them: nothing comes of it. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Loop } from '../../supervisor/loop.ts'
import { World, configOf } from './world.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** What the clock of the machine shows at first, beside the little that has passed. */
const EPOCH = 1_800_000_000_000

const names = ['s0', 's1', 's2', 's3', 's4', 's5']
const jump = fc.constantFrom(-30 * DAY, -DAY, -HOUR, HOUR, DAY, 30 * DAY)

/** Most often early, when much has just begun. */
const steps = fc.oneof(fc.nat({ max: 10 }), fc.nat({ max: 60 }))

/** Plays a story in which the clock is set after some steps, and at other times by other spans. */
const whenever = (story: (world: World, setClock: () => void, steps: number) => Promise<void>, runs = 60) =>
  fc.assert(
    fc.asyncProperty(fc.scheduler(), jump, steps, async (scheduler, byMs, after) => {
      const world = new World(scheduler)
      world.clockError = EPOCH
      await story(
        world,
        () => {
          world.setClock(byMs)
        },
        after,
      )
      expect(world.conflicts).toEqual([])
      expect(world.deaths).toEqual([])
    }),
    { numRuns: runs },
  )

const serving = (world: World) => [...world.serving().keys()].sort()
const problems = (loop: Loop) => loop.status().rebalancing.decisions.flatMap((decision) => decision.problems)

/** Lets everything happen that still does, and says how long that took by a clock that nobody sets. */
async function settled(world: World): Promise<number> {
  const begun = world.now
  expect(await world.settle(), 'the loop goes quiet').toBe(true)
  return world.now - begun
}

describe('a clock that is set', () => {
  it('ends no worker and delays no start, whatever has just begun', () =>
    whenever(async (world, setClock, steps) => {
      world.spawnMs = 5000
      world.start(configOf(names, 2))
      await world.settle(steps)
      setClock()
      expect(await settled(world)).toBeLessThan(MINUTE)
      expect(serving(world)).toEqual(names)
    }))

  it('neither ends nor prolongs the pause of a service that has failed, or of a worker', () =>
    whenever(async (world, setClock, steps) => {
      world.faults.set('s1', 4)
      world.start(configOf(names, 2))
      await world.settle(steps)
      setClock()
      // 1, 2 and 4 s and so on, at most a fifth longer.
      expect(await settled(world)).toBeLessThan(MINUTE)
      expect(serving(world)).toEqual(names)
    }))

  it('gives a silent worker neither less nor more time', () =>
    whenever(async (world, setClock) => {
      world.start(configOf(names, 3))
      await settled(world)
      const [worker] = world.workers.values()
      if (!worker) throw new Error('there are workers')
      world.freeze(worker)
      await world.settle(2)
      const begun = world.now
      setClock()
      await world.settleUntil(() => !world.workers.has(worker.id))
      expect(world.now - begun).toBeGreaterThan(25_000)
      expect(world.now - begun).toBeLessThan(35_000)
      await settled(world)
      expect(serving(world)).toEqual(names)
      // That one was to end.
      world.deaths.length = 0
    }, 20))

  it('loses no move, and turns none back', () =>
    whenever(async (world, setClock, steps) => {
      const loop = world.start(configOf(names, 4))
      await settled(world)
      for (const name of ['s0', 's1']) void loop.order('move', { service: name, to: 'new' }).catch(() => undefined)
      await world.settle(steps)
      setClock()
      expect(await settled(world)).toBeLessThan(3 * MINUTE)
      expect(problems(loop)).toEqual([])
      expect(world.serving().get('s0')?.shard).toBe(3)
      expect(serving(world)).toEqual(names)
    }))

  it('loses no move of a supervisor that has ended, however long ago', () =>
    whenever(async (world, setClock, steps) => {
      let loop = world.start(configOf(names, 4))
      await settled(world)
      await loop.order('move', { service: 's0', to: 'new' })
      await world.settle(steps)
      world.killSupervisor()
      setClock()
      loop = world.start(configOf(names, 4))
      expect(await settled(world)).toBeLessThan(3 * MINUTE)
      expect(problems(loop)).toEqual([])
      expect(world.serving().get('s0')?.shard).toBe(3)
    }))

  /** Samples for so long; gives how many decisions there are then. */
  async function sample(world: World, loop: Loop, cpuPercent: number, ms: number): Promise<number> {
    for (let passed = 0; passed < ms; passed += 10_000) {
      world.pass(10_000)
      world.sample(Object.fromEntries(loop.status().shards.map(({ shard }) => [shard, cpuPercent])))
      await world.settle(30)
    }
    return loop.status().rebalancing.decisions.length
  }

  it('brings about no decision by itself', () =>
    whenever(async (world, setClock) => {
      const loop = world.start(configOf(names, 3))
      await settled(world)
      expect(await sample(world, loop, 40, 5 * MINUTE)).toBe(0)
      setClock()
      expect(await sample(world, loop, 40, 5 * MINUTE)).toBe(0)
      expect(loop.status().services.every(({ ready }) => ready)).toBe(true)
    }, 15))

  it.each([
    ['while the supervisor runs', false],
    ['between two supervisors', true],
  ])('neither ends a cooldown nor makes one last, %s', (_, betweenTwo) =>
    whenever(async (world, setClock) => {
      const config = configOf(names, 6)
      // The others would be new nodes elsewhere, so that only s0 can be merged with them.
      const services = config.services.map((service) => ({ ...service, ephemeral: service.name !== 's0' }))
      let loop = world.start({ ...config, services })
      await settled(world)
      await loop.order('move', { service: 's0', to: 'new' })
      await loop.order('unpin', { service: 's0' })
      await settled(world)
      if (betweenTwo) world.killSupervisor()
      setClock()
      if (betweenTwo) loop = world.start({ ...config, services })
      await world.settle(200)
      const { length: before } = loop.status().rebalancing.decisions
      // It is cold, and has to stay for ten minutes all the same.
      const early = await sample(world, loop, 1, 9 * MINUTE)
      // A clock that was set forth between two supervisors cannot be told from time that has passed.
      if (!(betweenTwo && world.clockError > EPOCH)) expect(early).toBe(before)
      expect(await sample(world, loop, 1, 3 * MINUTE)).toBe(before + 1)
      expect(loop.status().rebalancing.decisions[0]?.verdict).toBe('merge')
    }, 12),
  )

  it('makes no order of a certificate come early, nor wait for days', () =>
    whenever(async (world, setClock, steps) => {
      world.tls.add('s0')
      world.lostOrders.set('s0', 2)
      world.start(configOf(names, 3))
      await world.settle(steps)
      setClock()
      await settled(world)
      const [first = 0, second = 0, third = 0] = world.orders.map(({ at }) => at)
      expect(world.certified).toEqual(new Set(['s0']))
      for (const [pause, wanted] of [
        [second - first, 15],
        [third - second, 60],
      ] as const) {
        expect(pause).toBeGreaterThanOrEqual(wanted * MINUTE)
        expect(pause).toBeLessThan((wanted + 1) * MINUTE)
      }
    }))

  it('is what status goes by', () =>
    whenever(async (world, setClock) => {
      const loop = world.start(configOf(names, 3))
      await settled(world)
      const before = loop.status()
      setClock()
      const after = loop.status()
      for (const [i, { since }] of after.shards.entries())
        expect(since - (before.shards[i]?.since ?? 0)).toBe(world.clockError - EPOCH)
      expect(after.startedAt - before.startedAt).toBe(world.clockError - EPOCH)
    }, 5))
})
