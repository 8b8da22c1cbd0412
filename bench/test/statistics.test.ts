import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { overlap, pairedRatios, scaling, summarize } from '../research/report/statistics.ts'

const samples = fc.array(fc.double({ min: 0.001, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 9 })

describe('summarize', () => {
  it('says nothing of no samples', () => {
    expect(summarize([])).toBeNull()
  })

  it('takes the middle, and is not moved by one bad repeat', () => {
    expect(summarize([2, 900, 1])).toEqual({ median: 2, min: 1, max: 900, deviation: 1, repeats: 3 })
  })

  it('has its median between its ends, whatever the order', () => {
    fc.assert(
      fc.property(samples, (values) => {
        const summary = summarize(values)!
        expect(summary.median).toBeGreaterThanOrEqual(summary.min)
        expect(summary.median).toBeLessThanOrEqual(summary.max)
        expect(summarize(values.toReversed())).toEqual(summary)
      }),
    )
  })
})

describe('pairedRatios', () => {
  const repeats = (...values: [repeat: number, value: number][]) => new Map(values)

  it('compares each repeat with its own neighbour, so that a slow hour costs nothing', () => {
    expect(pairedRatios(repeats([1, 10], [2, 40]), repeats([1, 5], [2, 20]))).toEqual([2, 2])
  })

  it('goes by the order of the repeats, and leaves out what has no neighbour', () => {
    expect(pairedRatios(repeats([3, 9], [1, 10], [4, 7]), repeats([1, 5], [2, 1], [3, 3]))).toEqual([2, 3])
  })

  it('is none of nothing', () => {
    expect(pairedRatios(repeats([1, 1], [2, 1]), repeats([1, 0], [2, 1]))).toEqual([])
    expect(pairedRatios(repeats([1, 0]), repeats([1, 0]))).toEqual([])
  })
})

describe('overlap', () => {
  it.each([
    [[1, 2], [3, 4], false],
    [[1, 3], [3, 4], true],
    [[1, 9], [3, 4], true],
  ])('of %j and %j: %s', (a, b, common) => {
    expect(overlap(summarize(a)!, summarize(b)!)).toBe(common)
    expect(overlap(summarize(b)!, summarize(a)!)).toBe(common)
  })
})

describe('scaling', () => {
  it('finds the power of exact growth', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.1, max: 3, noNaN: true }),
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        (power, constant) => {
          const points = [10, 20, 57, 100].map((services) => ({ services, y: constant * services ** power }))
          const found = scaling(points)!
          expect(found.exponent).toBeCloseTo(power, 6)
          expect(found.rSquared).toBeCloseTo(1, 6)
        },
      ),
    )
  })

  it('leaves out what is below ten services, above the limit, or nothing', () => {
    const points = [1, 10, 20, 40, 500].map((services) => ({ services, y: services }))
    expect(scaling([...points, { services: 30, y: 0 }], 60)?.points).toBe(3)
  })

  it('is none of fewer than three sizes', () => {
    expect(scaling([10, 10, 20].map((services) => ({ services, y: services })))).toBeNull()
  })
})
