import { describe, expect, it } from 'vitest'
import { DISTURBED_SHARE, disturbance, isDisturbed, nextTrial, settle } from '../harness/attempts.ts'
import type { Planned } from '../harness/plan.ts'
import type { Trial } from '../harness/results.ts'
import { madeUpRun } from './fixtures/madeUpRun.ts'

const CALM = DISTURBED_SHARE / 2
const MUCH = DISTURBED_SHARE * 2
const MORE = DISTURBED_SHARE * 3

const planned = (subject: string, round: number, loads: Planned['loads'] = ['idle']): Planned => ({
  subject,
  services: 12,
  repeat: round + 1,
  loads,
  restart: false,
  round,
})
const plan = [planned('ours', 0), planned('peer', 0), planned('peer', 1), planned('ours', 1)]

const template = madeUpRun().trials.find(({ aborted, windows }) => aborted === null && windows.idle)!

/** An attempt during which that share was stolen. */
function attempt({ subject, services, repeat, loads }: Planned, stolenShare: number): Trial {
  const windows = { idle: { ...template.windows.idle!, stolenShare } }
  return { ...template, subject, services, repeat, loads: [...loads], start: null, restart: null, windows }
}

/** What is run, trial by trial, where each attempt meets the next of these shares; `from`: what an earlier run has left. */
function play(shares: readonly number[], from: readonly Trial[] = [], most = 3) {
  let run: { trials: Trial[]; discarded: Trial[] } = { trials: [...from], discarded: [] }
  const order: string[] = []
  for (const share of shares) {
    const next = nextTrial(plan, run, most)
    if (!next) break
    order.push(`${next.subject} #${next.repeat}`)
    run = settle(run, attempt(next, share))
  }
  return { order, run, next: nextTrial(plan, run, most) }
}

describe('disturbance', () => {
  const start = { ...template.start!, stolenShare: 0.02 }
  const trial: Trial = { ...attempt(plan[0]!, 0.04), start, stolenShare: 0.5 }

  it('is that of the worst part, whatever happened between the parts', () => {
    expect(disturbance(trial)).toBe(0.04)
    expect(disturbance({ ...trial, restart: { ...start, stolenShare: 0.3 } })).toBe(0.3)
    expect(disturbance({ ...trial, windows: { idle: { ...trial.windows.idle!, stolenShare: null } } })).toBe(0.02)
  })

  it('does not look at how a trial of the saturated loads started', () => {
    const saturated: Trial = { ...trial, loads: ['saturated'], start: { ...start, stolenShare: 0.5 } }
    expect(disturbance(saturated)).toBe(0.04)
  })

  it('is that of the whole trial where it was given up, as its last part has no figure', () => {
    expect(disturbance({ ...trial, aborted: 'starting: no answer', start: null, windows: {} })).toBe(0.5)
  })

  it('begins above the limit', () => {
    expect([null, DISTURBED_SHARE, DISTURBED_SHARE + 0.001].map(isDisturbed)).toEqual([false, false, true])
  })
})

describe('nextTrial', () => {
  it('goes through the plan once when nothing is disturbed', () => {
    const { order, next } = play([CALM, CALM, CALM, CALM])
    expect(order).toEqual(['ours #1', 'peer #1', 'peer #2', 'ours #2'])
    expect(next).toBeUndefined()
  })

  it('tries again at the end of the round what was disturbed', () => {
    const { order } = play([MUCH, MUCH, CALM, CALM, CALM, CALM])
    expect(order).toEqual(['ours #1', 'peer #1', 'ours #1', 'peer #1', 'peer #2', 'ours #2'])
  })

  it('gives up after the third attempt, each one after the others of its round', () => {
    const { order } = play([MUCH, MUCH, MUCH, CALM, MUCH, CALM, CALM])
    expect(order).toEqual(['ours #1', 'peer #1', 'ours #1', 'peer #1', 'ours #1', 'peer #2', 'ours #2'])
  })

  it('tries nothing again when a run has no time for it', () => {
    expect(play([MUCH, MUCH, MUCH, MUCH, MUCH], [], 1).order).toEqual(['ours #1', 'peer #1', 'peer #2', 'ours #2'])
  })

  it('goes on where a run was interrupted', () => {
    expect(play([CALM, CALM, CALM], [attempt(plan[0]!, MUCH)]).order).toEqual(['peer #1', 'ours #1', 'peer #2'])
  })

  it('tells trials apart that differ in what they measure', () => {
    const saturated = planned('ours', 0, ['saturated'])
    expect(nextTrial([plan[0]!, saturated], { trials: [attempt(plan[0]!, CALM)], discarded: [] }, 3)).toBe(saturated)
  })
})

describe('settle', () => {
  const [ours] = plan as [Planned]

  it.each([
    ['the least disturbed', [MORE, MUCH], MUCH],
    ['an earlier one that was', [MUCH, MORE], MUCH],
    ['the calm one', [MORE, MUCH, CALM], CALM],
  ])('has %s count, and keeps the others', (_, shares, counts) => {
    let run: { trials: Trial[]; discarded: Trial[] } = { trials: [], discarded: [] }
    for (const share of shares) run = settle(run, attempt(ours, share))
    expect(run.trials.map(disturbance)).toEqual([counts])
    expect(run.discarded.map(disturbance).toSorted()).toEqual(shares.filter((share) => share !== counts).toSorted())
  })

  it('looks at nothing that tells of the subject', () => {
    const dear = (trial: Trial): Trial => ({
      ...trial,
      windows: { idle: { ...trial.windows.idle!, cpuSeconds: 1000, pssBytes: 1e12 } },
    })
    const before = settle({ trials: [], discarded: [] }, attempt(ours, MORE))
    const better = dear(attempt(ours, MUCH))
    expect(settle(before, better).trials).toEqual([better])
    const equal = settle({ trials: [better], discarded: [] }, attempt(ours, MUCH))
    expect(equal.trials).toEqual([better])
  })
})
