import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { overlap, ratio, scaling, summarize } from '../../bench/report/statistics.ts'

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

describe('ratio', () => {
  it('ranges over all pairs of repeats', () => {
    expect(ratio(summarize([10, 20, 30])!, summarize([1, 2, 5])!)).toEqual({ median: 10, low: 2, high: 30 })
  })

  it('is none of nothing', () => {
    expect(ratio(summarize([1])!, summarize([0, 1])!)).toBeNull()
  })

  it('is turned over when its sides are', () => {
    fc.assert(
      fc.property(samples, samples, (a, b) => {
        const [there, back] = [ratio(summarize(a)!, summarize(b)!)!, ratio(summarize(b)!, summarize(a)!)!]
        expect(there.low * back.high).toBeCloseTo(1, 6)
        expect(there.median * back.median).toBeCloseTo(1, 6)
      }),
    )
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
