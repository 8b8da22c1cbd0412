import { expect, it } from 'vitest'
import { compare } from '../../bench/pairs/compare.ts'

const turn = (cpuSeconds: number, requests: number) => ({ cpuSeconds, requests })

it('compares the turns of one round with each other, so that a bad minute is nobody’s', () => {
  // The machine is twice as slow in the second round, and four times in the third.
  const slow = [1, 2, 4]
  const [base, other] = compare(
    new Map([
      ['base', slow.map((by) => turn(0.2 * by, 1000))],
      ['other', slow.map((by) => turn(0.18 * by, 1000 * 1.2))],
    ]),
  )
  expect(base).toMatchObject({ title: 'base', cpuPerThousand: { median: 400 }, cpuRatio: { lower: 1, median: 1, upper: 1 } })
  expect(other?.cpuRatio.lower).toBeCloseTo(0.75)
  expect(other?.cpuRatio.upper).toBeCloseTo(0.75)
  expect(other?.requestsRatio.median).toBeCloseTo(1.2)
})

it('gives the middle half of the pairs', () => {
  const [, other] = compare(
    new Map([
      ['base', Array.from({ length: 5 }, () => turn(1, 1000))],
      ['other', [1, 2, 3, 4, 5].map((cpu) => turn(cpu, 1000))],
    ]),
  )
  expect(other?.cpuRatio).toEqual({ lower: 2, median: 3, upper: 4 })
})
