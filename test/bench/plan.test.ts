import { describe, expect, it } from 'vitest'
import { type Matrix, estimateMs, planTrials } from '../../bench/plan.ts'

const matrix: Matrix = {
  subjects: [
    { key: 'ours' },
    { key: 'peer' },
    { key: 'bare' },
    { key: 'limit', headlineLoads: ['saturated'] },
    { key: 'without', headlineLoads: ['idle', 'saturated'] },
  ],
  sizes: [10, 57],
  largeSizes: [100],
  headline: 57,
  repeats: 3,
  loads: ['idle', 'light', 'saturated'],
}

const trials = planTrials(matrix)
const short = trials.map(({ subject, services, repeat }) => `${subject} ${services} #${repeat}`)

describe('planTrials', () => {
  it('tries all that are compared at each size, and again at the headline', () => {
    expect(short.slice(0, 12).toSorted()).toEqual(
      ['ours', 'peer', 'bare'].flatMap((key) => [`${key} 10 #1`, `${key} 57 #1`, `${key} 57 #2`, `${key} 57 #3`]).toSorted(),
    )
  })

  it('lets another one begin in each round', () => {
    expect([0, 3, 6, 9].map((round) => short[round])).toEqual(['ours 10 #1', 'peer 57 #1', 'bare 57 #2', 'ours 57 #3'])
  })

  it('goes on with ours where the others cannot follow, and ends with what is for the headline only', () => {
    expect(short.slice(12)).toEqual(['ours 100 #1', 'limit 57 #1', 'without 57 #1'])
  })

  it('gives these their own loads, as far as they are wanted', () => {
    expect(trials.find(({ subject }) => subject === 'without')?.loads).toEqual(['idle', 'saturated'])
    const idle = planTrials({ ...matrix, loads: ['idle'] })
    expect(idle.map(({ subject }) => subject)).not.toContain('limit')
    expect(idle.every(({ loads }) => loads.join() === 'idle')).toBe(true)
  })

  it('measures restarts at the headline', () => {
    expect(new Set(trials.filter(({ restart }) => restart).map(({ services }) => services))).toEqual(new Set([57]))
  })

  it('plans nothing for ours when it was not chosen', () => {
    expect(planTrials({ ...matrix, subjects: [{ key: 'peer' }] }).map(({ services }) => services)).toEqual([10, 57, 57, 57])
  })
})

describe('estimateMs', () => {
  const pace = {
    coolDownMs: 50_000,
    quietMs: 5000,
    windowMs: { idle: 30_000, light: 10_000, moderate: 10_000, saturated: 10_000 },
  }

  it('adds up what a trial waits for', () => {
    const [trial] = planTrials({ ...matrix, subjects: [{ key: 'ours' }], sizes: [10], headline: 57 })
    const preparing = estimateMs([{ ...trial!, loads: [] }], { ...pace, quietMs: 0 }, () => 0)
    expect(estimateMs([trial!], pace, () => 7000)).toBe(preparing + 7000 + 50_000 + 50_000)
    expect(estimateMs([{ ...trial!, loads: ['light'] }], pace, () => 7000)).toBe(preparing + 7000 + 5000 + 10_000)
  })

  it('counts a restart as another start', () => {
    const [trial] = planTrials({ ...matrix, sizes: [57] })
    const without = estimateMs([{ ...trial!, restart: false }], pace, () => 7000)
    expect(estimateMs([trial!], pace, () => 7000) - without).toBe(7000 + 10_000)
  })
})
