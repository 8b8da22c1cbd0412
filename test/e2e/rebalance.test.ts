/** Rebalancing by CPU, over real nodes and with real CPU: a shard gets hot, is relieved, cools down, and is merged again. */
import { afterEach, expect, it } from 'vitest'
import type { Status } from '../../shared/api.ts'
import { startLoad } from './load.ts'
import { Stack } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

/** Low enough that a shard gets there on any machine, and high enough that idle nodes never do. */
const HOT_PERCENT = 15

it('opens a shard when one is hot, and merges the two when the load has gone, with no request lost', async () => {
  stack = await Stack.create({ upstreams: 4, shardSize: 6 })
  await stack.configure(stack.services(4), {
    supervisor: {
      ...stack.supervisorKeys(),
      hotPercent: HOT_PERCENT,
      coldPercent: 5,
      sampleInterval: '500ms',
      settleTime: '3s',
      moveCooldown: '5s',
    },
  })
  await stack.startReady()
  expect((await stack.status()).shards.length).toBe(1)
  const loaded = ['svc0', 'svc1']
  const load = startLoad(stack.lab, loaded, 300)
  const opened = await stack.until(({ shards, moves }) => shards.length === 2 && moves.length === 0, 'another shard is opened')
  expect(opened.rebalancing.decisions[0]).toMatchObject({ verdict: 'relieve', problems: [] })
  // The two that do the work are apart now.
  const placeOf = ({ services }: Status, name: string) => services.find((service) => service.name === name)?.shard
  expect(placeOf(opened, 'svc0')).not.toBe(placeOf(opened, 'svc1'))
  const { rebalancing } = await stack.until(
    ({ rebalancing: { decisions } }) => decisions.at(-1)?.measured !== null,
    'its effect is measured',
  )
  const first = rebalancing.decisions.at(-1)
  const before = first?.expected[0]?.beforePercent ?? 0
  expect(Math.max(...(first?.measured ?? []).map(({ percent }) => percent))).toBeLessThan(before)
  const { failed, ok } = await load.stop()
  expect(failed).toEqual([])
  expect(ok).toBeGreaterThan(1000)
  const merged = await stack.until(({ shards, moves }) => shards.length === 1 && moves.length === 0, 'the shards are merged')
  expect(merged.rebalancing.decisions[0]).toMatchObject({ verdict: 'merge', problems: [] })
  await Promise.all(['svc0', 'svc1', 'svc2', 'svc3'].map((name) => stack.whoAnswers(name)))
})
