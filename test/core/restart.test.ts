import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type BackoffPolicy, backoffMs, noFailures, recordFailure } from '../../supervisor/core/restart.ts'

const policy: BackoffPolicy = { free: 2, baseMs: 1000, maxMs: 60_000, halfLifeMs: 30_000 }
const failures = (times: readonly number[]) => times.reduce((count, at) => recordFailure(count, at, policy), noFailures)

describe('backoffMs', () => {
  it('costs nothing for the free failures and doubles from there', () => {
    const delays = [1, 2, 3, 4, 5].map((count) => backoffMs({ count, at: 0 }, { ...policy }, 'x'))
    expect(delays.slice(0, 2)).toEqual([0, 0])
    const [first, second, third] = delays.slice(2)
    for (const [delay, plain] of [
      [first, 1000],
      [second, 2000],
      [third, 4000],
    ] as const) {
      expect(delay).toBeGreaterThanOrEqual(plain * 0.8)
      expect(delay).toBeLessThanOrEqual(plain * 1.2)
    }
  })

  it('gives services that failed together different delays', () => {
    const delays = ['wiki', 'photos', 'feeds'].map((name) => backoffMs({ count: 6, at: 1 }, policy, name))
    expect(new Set(delays).size).toBe(3)
  })

  it('never exceeds the maximum by more than the jitter, however often it fails', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e6, noNaN: true }), fc.string(), (count, seed) => {
        const delay = backoffMs({ count, at: 5 }, policy, seed)
        expect(delay).toBeGreaterThanOrEqual(0)
        expect(delay).toBeLessThanOrEqual(policy.maxMs * 1.2)
      }),
    )
  })
})

describe('recordFailure', () => {
  it('counts an old failure half after the half-life', () => {
    expect(failures([0, 30_000]).count).toBeCloseTo(1.5)
  })

  it('does not let old failures grow when the clock jumps back', () => {
    expect(failures([100_000, 0]).count).toBe(2)
  })

  it('stays bounded for a failure every half-life', () => {
    expect(failures(Array.from({ length: 100 }, (_, i) => i * 30_000)).count).toBeLessThan(2.01)
  })
})
