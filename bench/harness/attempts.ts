/** When a trial is tried again, because its hypervisor gave the machine to others, and which attempt at it counts. Pure. */
import { type Planned, SATURATING } from './plan.ts'
import type { Run, Trial } from './results.ts'

/**
 * More is too much. A calm machine loses 1 % at most. Of requests that cost 162 to 177 ms of CPU per 1,000 then, 7 % stolen made
 * 196, and 28 % made 290: at the limit a figure is about as far off as calm repeats are from each other.
 */
export const DISTURBED_SHARE = 0.05

/** What decides which attempts are made and which of them counts: nothing that tells of the subject. */
type Attempts = Pick<Run, 'trials' | 'discarded'>

/** Whether a part of a trial was measured while more was stolen than can be overlooked. */
export function isDisturbed(share: number | null): boolean {
  return share !== null && share > DISTURBED_SHARE
}

/**
 * The share that was stolen in the worst of the measured parts. How a trial of the saturated loads started is left out, as a
 * calm load counts for more. A trial that was given up has no figure of its last part: there the whole trial counts as a part, too.
 */
export function disturbance({ loads, start, restart, windows, aborted, stolenShare }: Trial): number {
  const starts = loads.some((load) => SATURATING.includes(load)) ? [] : [start, restart]
  const parts = [...starts, ...Object.values(windows)].map((part) => part?.stolenShare ?? 0)
  return Math.max(...parts, aborted === null ? 0 : (stolenShare ?? 0))
}

/**
 * What is to be done next: in the order of the plan what was never tried, and at the end of each round again what was
 * disturbed and has not had `most` attempts. Undefined when all is done. It goes by the attempts alone, so that an interrupted run can go on.
 */
export function nextTrial(plan: readonly Planned[], { trials, discarded }: Attempts, most: number): Planned | undefined {
  const due = plan.flatMap((planned) => {
    const counting = trials.find((trial) => isAttemptAt(planned, trial))
    const attempts = (counting ? 1 : 0) + discarded.filter((trial) => isAttemptAt(planned, trial)).length
    const again = counting !== undefined && isDisturbed(disturbance(counting)) && attempts < most
    return counting === undefined || again ? [{ planned, attempts }] : []
  })
  return due.toSorted((a, b) => a.planned.round - b.planned.round || a.attempts - b.attempts)[0]?.planned
}

/** Takes in an attempt: it counts unless an earlier one at the same trial was disturbed as little. */
export function settle({ trials, discarded }: Attempts, attempt: Trial): Attempts {
  const before = trials.find((trial) => isAttemptAt(attempt, trial))
  if (!before) return { trials: [...trials, attempt], discarded }
  if (disturbance(attempt) >= disturbance(before)) return { trials, discarded: [...discarded, attempt] }
  return { trials: trials.map((trial) => (trial === before ? attempt : trial)), discarded: [...discarded, before] }
}

function isAttemptAt(wanted: Pick<Planned, 'subject' | 'services' | 'repeat' | 'loads'>, trial: Trial): boolean {
  return (
    trial.subject === wanted.subject &&
    trial.services === wanted.services &&
    trial.repeat === wanted.repeat &&
    trial.loads.join() === wanted.loads.join()
  )
}
