import { describe, expect, it } from 'vitest'
import { type Matrix, estimateMs, planTrials } from '../harness/plan.ts'

const matrix: Matrix = {
  subjects: [
    { key: 'ours' },
    { key: 'peer' },
    { key: 'bare' },
    { key: 'limit', scope: { loads: ['saturated'] } },
    { key: 'without', scope: { loads: ['idle', 'saturated'], variant: {} } },
    { key: 'small-shards', scope: { variant: { services: 100 } } },
  ],
  sizes: [10, 57],
  largeSizes: [200],
  headline: 57,
  saturation: 12,
  repeats: { headline: 3, saturation: 2 },
  loads: ['idle', 'light', 'saturated'],
}

const trials = planTrials(matrix)
const short = (from: number, to?: number) =>
  trials.slice(from, to).map(({ subject, services, repeat }) => `${subject} ${services} #${repeat}`)

describe('planTrials', () => {
  it('tries all that are compared at each size, and again at the headline', () => {
    expect([...short(0, 9), ...short(17, 20)].toSorted()).toEqual(
      ['ours', 'peer', 'bare'].flatMap((key) => [`${key} 10 #1`, `${key} 57 #1`, `${key} 57 #2`, `${key} 57 #3`]).toSorted(),
    )
  })

  it.each([
    { most: { headline: 1 }, trials: ['57 #1', '12 #1', '12 #2', '10 #1'] },
    { most: { saturation: 1, size: 0 }, trials: ['57 #1', '57 #2', '57 #3', '12 #1'] },
  ])('tries no more often than $most', ({ most, trials: wanted }) => {
    const subjects = [{ key: 'ours' }, { key: 'slow', scope: { most } }]
    const slow = planTrials({ ...matrix, subjects }).filter(({ subject }) => subject === 'slow')
    expect(slow.map(({ services, repeat }) => `${services} #${repeat}`)).toEqual(wanted)
  })

  it('lets another one begin in each round', () => {
    expect([0, 3, 6, 9].map((round) => short(round, round + 1)[0])).toEqual([
      'ours 57 #1',
      'peer 57 #2',
      'bare 57 #3',
      'limit 12 #1',
    ])
  })

  it('counts as one round what stands side by side', () => {
    expect(trials.map(({ round }) => round).join('')).toBe('0001112223333444455566777')
  })

  it('measures the saturated load, and that only, where all can answer', () => {
    const saturated = trials.slice(9, 17)
    expect(saturated.every(({ services, loads, restart }) => services === 12 && loads.join() === 'saturated' && !restart)).toBe(
      true,
    )
    expect(saturated.filter(({ subject }) => subject === 'limit').map(({ repeat }) => repeat)).toEqual([1, 2])
    const elsewhere = trials.filter(({ services }) => services !== 12)
    expect(elsewhere.some(({ loads }) => loads.includes('saturated'))).toBe(false)
  })

  it('counts new connections among the saturated loads', () => {
    const connecting = planTrials({ ...matrix, loads: ['idle', 'saturated', 'connecting'] })
    expect(new Set(connecting.map(({ loads }) => loads.join()))).toEqual(new Set(['idle', 'saturated,connecting', 'saturated']))
  })

  it('goes on with ours where the others cannot follow, and ends with the variants', () => {
    expect(short(20)).toEqual(['ours 200 #1', 'ours 100 #1', 'without 57 #1', 'without 12 #1', 'small-shards 100 #1'])
  })

  it('gives subjects their own loads, as far as they are wanted', () => {
    expect(trials.filter(({ subject }) => subject === 'without').map(({ loads }) => loads)).toEqual([['idle'], ['saturated']])
    const idle = planTrials({ ...matrix, loads: ['idle'] })
    expect(idle.map(({ subject }) => subject)).not.toContain('limit')
    expect(idle.every(({ loads }) => loads.join() === 'idle')).toBe(true)
  })

  it('measures restarts at the headline, and where sizes of shards are compared', () => {
    expect(new Set(trials.filter(({ restart }) => restart).map(({ services }) => services))).toEqual(new Set([57, 100]))
  })

  it('restarts ours each time, its variants, and nobody else', () => {
    const repeats = (key: string) =>
      trials.filter(({ subject, restart }) => restart && subject === key).map(({ repeat }) => repeat)
    expect(['ours', 'without', 'small-shards', 'peer', 'bare'].map(repeats)).toEqual([[1, 2, 3, 1], [1], [1], [], []])
  })

  it('leaves out where a subject would be what another is', () => {
    const subjects = [{ key: 'ours' }, { key: 'shards', scope: { least: 21 } }]
    const shards = planTrials({ ...matrix, subjects }).filter(({ subject }) => subject === 'shards')
    expect(new Set(shards.map(({ services }) => services))).toEqual(new Set([57]))
  })

  it('plans nothing for ours when it was not chosen', () => {
    const alone = planTrials({ ...matrix, subjects: [{ key: 'peer' }] })
    expect(alone.map(({ services }) => services)).toEqual([57, 57, 57, 12, 12, 10])
  })
})

describe('estimateMs', () => {
  const pace = {
    coolDownMs: 50_000,
    quietMs: 5000,
    quietTimeoutMs: 20_000,
    warmUpMs: 3000,
    windowMs: { idle: 30_000, light: 10_000, moderate: 10_000, saturated: 10_000, connecting: 10_000 },
  }
  const soon = () => ({ answeredMs: 7000, becomesQuiet: true })
  const never = () => ({ answeredMs: 7000, becomesQuiet: false })
  const trial = planTrials({ ...matrix, subjects: [{ key: 'ours' }] }).find(({ services }) => services === 10)
  const preparing = estimateMs([{ ...trial!, loads: [] }], { ...pace, quietMs: 0 }, () => ({ answeredMs: 0, becomesQuiet: true }))

  it('adds up what a trial waits for', () => {
    expect(estimateMs([trial!], pace, soon)).toBe(preparing + 7000 + 50_000 + 40_000)
    expect(estimateMs([{ ...trial!, loads: ['light'] }], pace, soon)).toBe(preparing + 7000 + 5000 + 10_000)
    expect(estimateMs([{ ...trial!, loads: ['saturated'] }], pace, soon)).toBe(preparing + 7000 + 5000 + 3000 + 10_000)
  })

  it('knows that some network maps are never quiet, and then nothing cools down', () => {
    expect(estimateMs([{ ...trial!, loads: ['light'] }], pace, never)).toBe(preparing + 7000 + 20_000 + 10_000)
    expect(estimateMs([trial!], pace, never)).toBe(preparing + 7000 + 20_000 + 40_000)
  })

  it('counts a restart as another start', () => {
    const restart = { ...trial!, restart: true }
    expect(estimateMs([restart], pace, soon) - estimateMs([trial!], pace, soon)).toBe(7000 + 5000)
    expect(estimateMs([restart], pace, never) - estimateMs([trial!], pace, never)).toBe(7000 + 20_000)
  })
})
