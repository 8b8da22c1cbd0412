/** Which number a new shard gets, whatever asks for it: orders, load, memory, upgrades, culprits, reloads. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { freshShard, takenNumbers } from '../../supervisor/core/shardNumbers.ts'
import { nothingObserved, nothingRemembered } from '../../supervisor/core/types.ts'
import { World, configOf } from './world.ts'

const names = (count: number) => Array.from({ length: count }, (_, i) => `s${String(i)}`)

it('takes the lowest number that is free', () => {
  expect(freshShard(new Set())).toBe(1)
  expect(freshShard(new Set([3, 1]))).toBe(2)
})

it('takes none that is cordoned, suspected, or on its way', () => {
  const move = { from: 3, to: 4, why: '', queuedAt: 0, begunAt: null, problem: '' }
  const remembered = {
    ...nothingRemembered,
    placement: new Map([['a', 1]]),
    moves: new Map([['b', move]]),
    rebalancing: { ...nothingRemembered.rebalancing, cordoned: new Set([2]) },
    culprits: { ...nothingRemembered.culprits, suspects: new Map([[5, 0]]) },
  }
  expect(freshShard(takenNumbers(remembered, nothingObserved))).toBe(6)
})

const number = fc.integer({ min: 1, max: 5 })
const aCommand = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('let' as const), steps: fc.integer({ min: 0, max: 30 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('sample' as const), hot: number, wait: fc.integer({ min: 0, max: 4e6 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('drain' as const, 'cordon' as const), shard: number }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('uncordon' as const), shard: number }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('moveToNew' as const), service: fc.nat(6) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('upgrade' as const, 'killSupervisor' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('poison' as const), service: fc.nat(6) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reload' as const), services: fc.subarray(names(9), { minLength: 3 }) }) },
)

it('gives no new shard a number that is cordoned, or that a living worker has', { timeout: 120_000 }, async () => {
  const opened = { numbers: 0, besideCordons: 0 }
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.array(aCommand, { maxLength: 15, size: 'max' }), async (scheduler, commands) => {
      const world = new World(scheduler)
      let config = configOf(names(7), 3)
      let loop = world.start(config, () => config)
      await world.settle()
      for (const command of commands) {
        const before = world.saved
        switch (command.do) {
          case 'let':
            await world.settle(command.steps)
            break
          case 'sample':
            world.pass(command.wait)
            world.sample({ 1: 5, 2: 5, 3: 5, 4: 5, 5: 5, [command.hot]: 140 })
            break
          case 'drain':
          case 'cordon':
          case 'uncordon':
            loop.order(command.do, { shard: command.shard }).catch(() => undefined)
            break
          case 'moveToNew':
            loop.order('move', { service: `s${String(command.service)}`, to: 'new' }).catch(() => undefined)
            break
          case 'upgrade':
            loop.order('upgrade-workers', { all: true }).catch(() => undefined)
            break
          case 'poison':
            world.poisons.add(`s${String(command.service)}`)
            world.killWorker(world.serving().get(`s${String(command.service)}`)?.id ?? '')
            break
          case 'killSupervisor':
            world.killSupervisor()
            loop = world.start(config, () => config)
            break
          case 'reload':
            config = configOf(command.services, 3)
            loop.reload().catch(() => undefined)
            break
        }
        await world.settle(20)
        const known = new Set(before.placement.values())
        if (![...world.saved.placement.values()].every((shard) => known.has(shard))) {
          opened.numbers++
          opened.besideCordons += Number(before.rebalancing.cordoned.size > 0)
        }
      }
      world.poisons.clear()
      await world.settle()
      expect(world.reusedNumbers).toEqual([])
      expect(world.conflicts).toEqual([])
    }),
    { numRuns: 100 },
  )
  // It has something to say.
  expect(opened.numbers).toBeGreaterThan(50)
  expect(opened.besideCordons).toBeGreaterThan(10)
})
