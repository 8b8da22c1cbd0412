/** A worker that outgrows its memory, in the fake world: when it is replaced, how, and when not. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { parseConfig } from '../../supervisor/config/parseConfig.ts'
import type { Loop } from '../../supervisor/loop.ts'
import { World } from './world.ts'

const MIB = 2 ** 20
const HOUR_MS = 3_600_000
const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g']

const configOf = (supervisor: Record<string, unknown> = {}) =>
  parseConfig(
    stringify({
      supervisor: { shardSize: 7, stateDir: '/tmp/s', runDir: '/tmp/s/r', memoryLimit: '300MiB', ...supervisor },
      defaults: { plaintext: true },
      services: names.map((name) => ({ name, upstream: `http://${name}.test` })),
    }),
    'test.yaml',
    {},
  ).config

/** A running loop, and samples for it: so many MiB for the worker of each shard, 0 for the others. */
interface Scene {
  world: World
  loop: Loop
  sample: (mib: Record<number, number>, times?: number) => Promise<void>
}

function scene(play: (scene: Scene) => Promise<void>, config = configOf()): Promise<void> {
  return fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const world = new World(scheduler)
      const loop = world.start(config)
      await world.settle()
      const sample = async (mib: Record<number, number>, times = 6) => {
        for (let i = 0; i < times; i++) {
          world.now += 5000
          const usage = [...world.workers.values()].map(({ id, shard }) => {
            return [id, { cpuPercent: 1, memoryBytes: (mib[shard] ?? 100) * MIB, swapBytes: 0, cpuSeconds: 1 }] as const
          })
          loop.post({ type: 'usageSampled', usage: new Map(usage) })
          await world.settle()
        }
      }
      await play({ world, loop, sample })
      expect(world.conflicts).toEqual([])
    }),
    { numRuns: 5 },
  )
}

const placesOf = (loop: Loop) => new Set(loop.status().services.map(({ shard, ready }) => `${String(shard)} ${String(ready)}`))
const verdicts = (loop: Loop) => loop.status().rebalancing.decisions.map(({ verdict }) => verdict)

describe('a worker above the memory limit', () => {
  it('is replaced: all its services move to a new shard, none starts twice, and it ends', () =>
    scene(async ({ world, loop, sample }) => {
      const [old] = world.workers.keys()
      world.now += HOUR_MS
      await sample({ 1: 320 }, 8)
      expect(placesOf(loop)).toEqual(new Set(['2 true']))
      expect([...world.workers.keys()]).not.toContain(old)
      expect([...world.starts.values()]).toEqual(names.map(() => 2))
      // Five and two: the second decision goes on with the first one's shard.
      expect(verdicts(loop)).toEqual(['replace', 'replace'])
      expect(loop.status().rebalancing.decisions[1]?.reason).toBe(
        'the worker of shard 1 has 320 MiB, the limit is 300 MiB: its services move to a new one',
      )
      await sample({ 2: 320 }, 8)
      expect(placesOf(loop)).toEqual(new Set(['2 true']))
    }))

  it('is replaced to the end, even when it comes below the limit on the way', () =>
    scene(async ({ world, loop, sample }) => {
      world.now += HOUR_MS
      await sample({ 1: 320 })
      await sample({ 1: 200 })
      expect(placesOf(loop)).toEqual(new Set(['2 true']))
    }))

  it('is left alone at a peak', () =>
    scene(async ({ world, loop, sample }) => {
      world.now += HOUR_MS
      await sample({ 1: 900 }, 5)
      await sample({ 1: 290 }, 1)
      await sample({ 1: 900 }, 5)
      expect(verdicts(loop)).toEqual([])
    }))

  it('is left alone in its first hour, as another would be no better, and status says what to do', () =>
    scene(async ({ world, loop, sample }) => {
      world.now += HOUR_MS / 2
      await sample({ 1: 900 }, 20)
      expect(verdicts(loop)).toEqual([])
      const [shard] = loop.status().shards
      expect(shard?.problems).toEqual([
        expect.stringContaining('Its 7 services take more than memoryLimit, 300 MiB. The worker is replaced when'),
      ])
    }))

  it('is left alone while rebalancing is paused', () =>
    scene(async ({ world, loop, sample }) => {
      world.now += HOUR_MS
      const paused = loop.order('pause', {})
      await world.settle()
      await paused
      await sample({ 1: 900 }, 10)
      expect(verdicts(loop)).toEqual([])
    }))

  it('is left alone without a limit; that it leaks is told all the same', () =>
    scene(
      async ({ world, loop, sample }) => {
        for (let hour = 0; hour < 26; hour++) {
          world.now += HOUR_MS
          await sample({ 1: 200 + 10 * hour }, 1)
        }
        expect(verdicts(loop)).toEqual([])
        const [shard] = loop.status().shards
        expect(shard?.memoryGrowth?.bytesPerHour).toBeGreaterThan(9 * MIB)
        expect(shard?.problems).toEqual([
          expect.stringMatching(/grown by (9|10)\.\d MiB an hour since 1970-01-01T01:1.*drain 1"/),
        ])
      },
      configOf({ memoryLimit: '0' }),
    ))
})
