import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compare, playVariant } from '../research/sim/compare.ts'
import { Fleet, SHARD_SIZE } from '../research/sim/fleet.ts'
import { bestPlacement, leastPeak } from '../research/sim/optimum.ts'
import { play } from '../research/sim/play.ts'
import { keepStatic, rebalanced } from '../research/sim/players.ts'
import { writeSimulation } from '../research/sim/report.ts'
import { makeTraffic, MINUTES } from '../research/sim/traffic.ts'
import { defaultRebalancing } from '../../supervisor/core/rebalance.ts'

describe('the simulated day', () => {
  it('is the same for the same seed, and another for another', () => {
    const score = (seed: number) => play(makeTraffic(57, seed), keepStatic)
    expect(score(1)).toEqual(score(1))
    expect(score(2)).not.toEqual(score(1))
  })

  it('has as many services at its end as at its beginning, and others among them', () => {
    const traffic = makeTraffic(200, 1)
    const deployed = (minute: number) => traffic.services.filter((_, i) => traffic.isDeployed(i, minute))
    expect(deployed(0)).toHaveLength(200)
    expect(deployed(MINUTES - 1)).toHaveLength(200)
    expect(deployed(MINUTES - 1)).not.toEqual(deployed(0))
  })

  it('keeps the shard size whatever is decided', () => {
    const traffic = makeTraffic(57, 3)
    const ours = rebalanced({ traffic, seed: 3 }, defaultRebalancing)
    play(traffic, (fleet, now) => {
      expect(sizes(fleet)).toBeLessThanOrEqual(SHARD_SIZE)
      return ours(fleet, now)
    })
  })

  const sizes = (fleet: Fleet) => Math.max(...[...fleet.members().values()].map((members) => members.length))
})

describe('the optimum', () => {
  const loads = fc.array(fc.double({ min: 0, max: 60, noNaN: true }), { minLength: 1, maxLength: 80 })

  it('places each service once, within the cap', () => {
    fc.assert(
      fc.property(loads, fc.integer({ min: 1, max: 20 }), fc.nat({ max: 4 }), (given, size, spare) => {
        const placed = bestPlacement(given, Math.ceil(given.length / size) + spare, size)
        expect(placed.flat().sort((a, b) => a - b)).toEqual([...given.keys()])
        expect(Math.max(...placed.map((members) => members.length))).toBeLessThanOrEqual(size)
      }),
    )
  })

  it('is never below the least possible, and near it where services are many and light', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 1, max: 5, noNaN: true }), { minLength: 60, maxLength: 90 }), (given) => {
        const peaks = bestPlacement(given, 5, 20).map((members) => members.reduce((sum, member) => sum + given[member]!, 0))
        expect(Math.max(...peaks)).toBeGreaterThanOrEqual(leastPeak(given, 5) - 1e-9)
        expect(Math.max(...peaks)).toBeLessThanOrEqual(1.1 * leastPeak(given, 5))
      }),
    )
  })
})

describe('rebalancing in a simulated day', () => {
  it.each([57, 200])(
    'of %i services is within a tenth of the optimum, with less than a move per service and hour',
    (services) => {
      const { ours, optimum, static: kept } = compare(services, 7)
      expect(ours.busiest).toBeLessThanOrEqual(1.1 * optimum.busiest)
      expect(ours.imbalance).toBeLessThanOrEqual(1.1 * optimum.imbalance)
      expect(ours.movesPerServiceHour).toBeLessThanOrEqual(1)
      expect(ours.hotMinutes).toBeLessThan(kept.hotMinutes / 2)
    },
  )

  it('is told in a report with its pictures', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tsnsrv-sim-'))
    try {
      const simulation = {
        seed: 1,
        comparisons: [compare(57, 1)],
        ablations: [{ name: 'defaults', services: 57, score: playVariant(57, 1, {}) }],
      }
      await writeSimulation(simulation, directory)
      const report = await readFile(join(directory, 'report.md'), 'utf8')
      for (const [, file = ''] of report.matchAll(/\]\((\S+\.svg)\)/g)) {
        expect(await readFile(join(directory, file), 'utf8')).toMatch(/^<svg/)
      }
      expect(report).toContain('day-57.svg')
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})
