/** Rebalancing by CPU, over real nodes and with real CPU: a shard gets hot, is relieved, cools down, and is merged again. */
import { afterEach, expect, it } from 'vitest'
import { isDisturbed } from '../../bench/harness/attempts.ts'
import { readMachineTime, stolenShare } from '../../bench/harness/measure/machineTime.ts'
import type { Status } from '../../shared/api.ts'
import { type Load, startLoad } from './load.ts'
import { Stack } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

/** Low enough that a shard gets there on any machine, and high enough that idle nodes never do. */
const HOT_PERCENT = 15
/** How long a shard is left in peace: what is measured is measured after that. */
const SETTLE_MS = 3000

it('opens a shard when one is hot, and merges the two when the load has gone, with no request lost', async () => {
  stack = await Stack.create({ upstreams: 4, shardSize: 6 })
  await stack.configure(stack.services(4), {
    supervisor: {
      ...stack.supervisorKeys(),
      hotPercent: HOT_PERCENT,
      coldPercent: 5,
      sampleInterval: '500ms',
      settleTime: `${String(SETTLE_MS)}ms`,
      moveCooldown: '5s',
    },
  })
  await stack.startReady()
  expect((await stack.status()).shards.length).toBe(1)
  const before = readMachineTime()
  // More and more, until it is too much: what a request costs is another thing on each machine.
  const loads: Load[] = []
  const isOpen = ({ shards }: Status) => shards.length === 2
  const isDecided = ({ rebalancing: { decisions } }: Status) => decisions.length > 0
  do {
    loads.push(startLoad(stack.lab, ['svc0', 'svc1'], 20, '/hash?bytes=262144'))
    await stack.until(isDecided, 'another shard is to be opened', SETTLE_MS).catch(() => undefined)
  } while (loads.length < 50 && !isDecided(await stack.status()))
  const opened = await stack.until((status) => isOpen(status) && status.moves.length === 0, 'another shard is opened')
  expect(opened.rebalancing.decisions[0]).toMatchObject({ verdict: 'relieve', problems: [] })
  // The two that do the work are apart now.
  const placeOf = ({ services }: Status, name: string) => services.find((service) => service.name === name)?.shard
  expect(placeOf(opened, 'svc0')).not.toBe(placeOf(opened, 'svc1'))
  const { rebalancing } = await stack.until(
    ({ rebalancing: { decisions } }) => decisions.at(-1)?.measured !== null,
    'its effect is measured',
  )
  // By what is written beside the decision: it was hot, and two intervals after the move neither of the two shards is.
  const first = rebalancing.decisions.at(-1)
  expect(first?.expected[0]?.beforePercent).toBeGreaterThanOrEqual(HOT_PERCENT)
  expect(first?.measured?.map(({ shard }) => shard)).toEqual(first?.expected.map(({ shard }) => shard))
  // The same requests cost several times as much while the hypervisor gives the machine to others: then it is at most not full.
  const mostPercent = isDisturbed(stolenShare(before, readMachineTime())) ? 100 : HOT_PERCENT
  for (const { percent } of first?.measured ?? []) expect(percent).toBeLessThan(mostPercent)
  expect((first?.measuredAt ?? Infinity) - (first?.carriedOutAt ?? 0)).toBeLessThanOrEqual(2 * SETTLE_MS)
  const results = await Promise.all(loads.map((load) => load.stop()))
  expect(results.flatMap(({ failed }) => failed)).toEqual([])
  const merged = await stack.until(({ shards, moves }) => shards.length === 1 && moves.length === 0, 'the shards are merged')
  expect(merged.rebalancing.decisions[0]).toMatchObject({ verdict: 'merge', problems: [] })
  await Promise.all(['svc0', 'svc1', 'svc2', 'svc3'].map((name) => stack.whoAnswers(name)))
})
