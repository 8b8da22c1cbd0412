/** What the supervisor says beforehand of a configuration, and that it then does just that. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import type { Plan, PlanRequest } from '../../shared/api.ts'
import { parseConfig } from '../../supervisor/config/parseConfig.ts'
import type { Loop } from '../../supervisor/loop.ts'
import { World } from './world.ts'

const request = (services: Record<string, unknown>[], supervisor: Record<string, unknown> = {}): PlanRequest => {
  const own = { shardSize: 2, stateDir: '/tmp/s', runDir: '/tmp/s/r', ...supervisor }
  return { file: 'new.yaml', text: stringify({ supervisor: own, defaults: { plaintext: true }, services }), flags: {} }
}
const service = (name: string, keys: Record<string, unknown> = {}) => ({ name, upstream: `http://${name}.test`, ...keys })
const parsed = ({ text, file }: PlanRequest) => parseConfig(text, file, {}).config

describe('a plan', () => {
  const before = request(
    ['same', 'proxied', 'noded', 'gone', 'temporary'].map((name) => service(name, { ephemeral: name === 'temporary' })),
  )

  /** Runs the configuration from before, has the next one planned, and looks at what came of it. */
  const planned = (next: PlanRequest, look: (plan: Plan, loop: Loop, world: World) => Promise<void> | void) =>
    fc.assert(
      fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const world = new World(scheduler)
        const loop = world.start(parsed(before), () => parsed(next))
        await world.settle()
        const plan = loop.plan(next)
        await world.settle()
        await look(await plan, loop, world)
      }),
      { numRuns: 5 },
    )

  it('tells what each change disturbs, and changes nothing', () =>
    planned(
      request([
        service('same'),
        service('proxied', { accessLog: true }),
        service('noded', { tags: ['tag:home'] }),
        service('temporary', { ephemeral: true, timeout: '5m' }),
        service('fresh'),
      ]),
      (plan, loop, world) => {
        const changes = Object.fromEntries(plan.services.map(({ name, change }) => [name, change]))
        expect(changes).toEqual({
          same: { type: 'unchanged' },
          proxied: { type: 'changed', disturbs: 'proxy', fields: ['accessLog'] },
          noded: { type: 'changed', disturbs: 'node', fields: ['tags'] },
          temporary: { type: 'changed', disturbs: 'identity', fields: ['connectTimeoutMs'] },
          fresh: { type: 'added' },
          gone: { type: 'removed' },
        })
        expect(plan.comparedWith).toBe('supervisor')
        expect(loop.status().configGeneration).toBe(1)
        expect([...world.serving().keys()].sort()).toEqual(['gone', 'noded', 'proxied', 'same', 'temporary'])
      },
    ))

  it('tells which services a limit forces to move, and the reload moves those', () =>
    planned(
      request(
        ['same', 'proxied', 'noded', 'gone', 'temporary'].map((name) => service(name, { ephemeral: name === 'temporary' })),
        { shardSize: 1, gcPercent: 5 },
      ),
      async (plan, loop, world) => {
        const moved = plan.services.filter(({ change }) => change.type === 'moved').map(({ name }) => name)
        expect(moved).toHaveLength(2)
        expect(plan.notes).toEqual(['gcPercent: takes effect in workers that start from now on'])
        const reloaded = loop.reload()
        await world.settle()
        expect((await reloaded).moved.sort()).toEqual(moved.sort())
      },
    ))

  it('tells what stays in quarantine, what leaves it as it has changed, and what is removed from it', () =>
    fc.assert(
      fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const world = new World(scheduler)
        for (const name of ['kept', 'mended', 'gone']) world.poisons.add(name)
        const known = ['a', 'b', 'c', 'kept'].map((name) => service(name))
        const loop = world.start(parsed(request([...known, service('mended'), service('gone')])))
        await world.settle()
        const next = loop.plan(request([...known, service('mended', { tags: ['tag:home'] })]))
        await world.settle()
        const rows = (await next).services.filter(({ name }) => !['a', 'b', 'c'].includes(name))
        expect(rows.map(({ name, shard, change }) => ({ name, placed: shard !== null, change }))).toEqual([
          { name: 'mended', placed: true, change: { type: 'released', fields: ['tags'] } },
          { name: 'gone', placed: false, change: { type: 'removed' } },
          {
            name: 'kept',
            placed: false,
            change: { type: 'quarantined', reason: expect.stringMatching(/^its worker ended \d times/) as string },
          },
        ])
      }),
      { numRuns: 5 },
    ))

  it('refuses what a reload refuses', () =>
    planned(before, async (_plan, loop) => {
      await expect(loop.plan(request([service('same')], { stateDir: '/tmp/other' }))).rejects.toThrow('stateDir cannot change')
      await expect(loop.plan({ ...before, text: 'services: [' })).rejects.toThrow('new.yaml:1')
    }))
})
