/** What is reported of a trial: each figure's name, unit, and where it comes from. */
import type { LoadName, Start, Trial, Window } from './results.ts'

/** What a measurement counts. */
export type Unit = 'percent' | 'bytes' | 'bytesPerSecond' | 'seconds' | 'milliseconds' | 'perSecond' | 'count'

export interface Metric {
  title: string
  unit: Unit
  /** The part of a trial that must have been reached for this figure to be there. */
  phase: Phase
  better: 'less' | 'more'
  /** null when the trial does not tell. */
  of: (trial: Trial) => number | null
  /** Why `of` may be null of a phase that was measured, for a footnote. */
  absent: string
}

export type Phase = LoadName | 'start' | 'restart'

/** What a trial found in a part; undefined when it did not come so far. */
export function partOf({ start, restart, windows }: Trial, phase: Phase): Start | Window | undefined {
  return { start: start ?? undefined, restart: restart ?? undefined, ...windows }[phase]
}

/** CPU of all processes together, in percent of one core. */
export const cpu = (load: LoadName) =>
  inWindow(load, `CPU, ${load}`, 'percent', ({ cpuSeconds, seconds }) => (100 * cpuSeconds) / seconds)

export const pss = (load: LoadName) => inWindow(load, `PSS, ${load}`, 'bytes', ({ pssBytes }) => pssBytes)

/** CPU time of the subject per 1,000 requests that were answered. */
export const cpuPerThousand = (load: LoadName) =>
  inWindow(load, `CPU per 1,000 requests, ${load}`, 'milliseconds', ({ cpuSeconds, requests }) => {
    const answered = requests ? requests.total - requests.failed : 0
    return answered > 0 ? (1000 * cpuSeconds) / (answered / 1000) : null
  })

export const requestsPerSecond = (load: LoadName): Metric => ({
  ...inWindow(load, `requests/s, ${load}`, 'perSecond', ({ requests }) => requests?.perSecond ?? null),
  better: 'more',
})

export const p50 = (load: LoadName) => inWindow(load, `p50, ${load}`, 'milliseconds', ({ requests }) => requests?.p50Ms ?? null)
export const p99 = (load: LoadName) => inWindow(load, `p99, ${load}`, 'milliseconds', ({ requests }) => requests?.p99Ms ?? null)
export const slowest = (load: LoadName) =>
  inWindow(load, `slowest, ${load}`, 'milliseconds', ({ requests }) => requests?.slowestMs ?? null)

/** Voluntary context switches a second: each is a thread that slept and was woken. */
export const wakeUps = (load: LoadName) =>
  inWindow(load, `wake-ups, ${load}`, 'perSecond', ({ voluntarySwitches, seconds }) => voluntarySwitches / seconds)

/** Sent and received together. */
export const network = (load: LoadName) =>
  inWindow(
    load,
    `network, ${load}`,
    'bytesPerSecond',
    ({ sentBytes, receivedBytes, seconds }) => (sentBytes + receivedBytes) / seconds,
  )

export const goroutines = (load: LoadName): Metric => ({
  ...inWindow(load, 'goroutines', 'count', (window) => window.goroutines),
  absent: 'the subject does not tell how many goroutines it has',
})

export const threads = (load: LoadName) => inWindow(load, 'threads', 'count', (window) => window.threads)

/** By the subject's own word. What the control server needs to tell the clients of it is in `answered` only. */
export const ready = (phase: 'start' | 'restart'): Metric => ({
  ...atStart(phase, `all ready${again(phase)}`, 'seconds', ({ readySeconds }) => readySeconds),
  absent: 'the subject does not tell when all its services are up',
})

/** By what a client sees: every service has answered a request over the tailnet. */
export const answered = (phase: 'start' | 'restart') =>
  atStart(phase, `all answer${again(phase)}`, 'seconds', ({ answeredSeconds }) => answeredSeconds)

export const quiet = (phase: 'start' | 'restart'): Metric => ({
  ...atStart(phase, 'network maps quiet', 'seconds', ({ quietSeconds }) => quietSeconds),
  absent: 'network maps were still changing at the end of the wait',
})

export const startCPU = (phase: 'start' | 'restart') =>
  atStart(phase, 'CPU time until then', 'seconds', ({ cpuSeconds }) => cpuSeconds)

export const peakRSS = (phase: 'start' | 'restart') => atStart(phase, 'highest RSS', 'bytes', ({ peakRssBytes }) => peakRssBytes)

function inWindow(load: LoadName, title: string, unit: Unit, of: (window: Window) => number | null): Metric {
  return {
    title,
    unit,
    phase: load,
    better: 'less',
    of: ({ windows }) => {
      const window = windows[load]
      return window ? of(window) : null
    },
    absent: 'no request was answered',
  }
}

function atStart(phase: 'start' | 'restart', title: string, unit: Unit, of: (start: Start) => number | null): Metric {
  return {
    title,
    unit,
    phase,
    better: 'less',
    of: (trial) => {
      const start = trial[phase]
      return start && of(start)
    },
    absent: 'the subject does not tell',
  }
}

function again(phase: 'start' | 'restart'): string {
  return phase === 'start' ? '' : ' again'
}
