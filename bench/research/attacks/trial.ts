/** One attack, and what the worker and a neighbour were like before, during and after it. */
import { setTimeout as delay } from 'node:timers/promises'
import { watchPeakRss } from '../../harness/measure/peakRss.ts'
import type { Assault } from './attacker.ts'
import type { Trial, Worker } from './results.ts'
import type { Stage } from './stage.ts'
import { isBack } from './verdict.ts'
import { type WorkerProcess, glance, meterLogs, sampleWorker } from './watch.ts'

/** How long the parts of a trial take. */
export interface Pace {
  readonly beforeMs: number
  /** What the openings are spread over: what is held is to be measured, and not the rush to get it. */
  readonly openingMs: number
  /** From the first opening to the release. */
  readonly attackMs: number
  /** How long the neighbour is asked after the release. */
  readonly afterMs: number
  /** How long the worker may take to be as before. */
  readonly settleMs: number
}

const LOOK_MS = 500

/** Attacks once, and releases what was opened; `progress` is told what comes next. Rejects when the worker does not live through it. */
export async function runTrial(stage: Stage, assault: Assault, pace: Pace, progress: (phase: string) => void): Promise<Trial> {
  const worker = await stage.worker()
  progress('before')
  const neighbourBefore = await stage.probe(pace.beforeMs)
  const before = { worker: await sampleWorker(worker), neighbour: neighbourBefore }

  const peak = watchPeakRss(() => [worker.pid])
  const log = meterLogs(stage.logs)
  try {
    progress('attacking')
    const [neighbourDuring] = await Promise.all([
      stage.probe(pace.attackMs),
      stage.attacker.attack(assault, pace.openingMs, pace.attackMs),
    ])
    const shapes = await stage.attacker.look()
    const during = { worker: await sampleWorker(worker), neighbour: neighbourDuring }
    const peakRssBytes = Math.max(peak.stop(), during.worker.rssBytes)
    const logBytes = log.stop()
    progress('released')
    await stage.attacker.release()
    const [neighbourAfter, backSeconds] = await Promise.all([
      stage.probe(pace.afterMs),
      untilBack(worker, before.worker, pace.settleMs),
    ])
    const after = { worker: await sampleWorker(worker), neighbour: neighbourAfter }
    return { attack: assault.attack, via: assault.via, before, during, after, peakRssBytes, logBytes, shapes, backSeconds }
  } finally {
    peak.stop()
    log.stop()
  }
}

/** Seconds until the worker was as before, or null when that took longer than it may. */
async function untilBack(worker: WorkerProcess, before: Worker, settleMs: number): Promise<number | null> {
  const began = performance.now()
  for (;;) {
    const isLast = performance.now() - began >= settleMs
    if (isBack(await glance(worker), before)) return (performance.now() - began) / 1000
    if (isLast) return null
    await delay(LOOK_MS)
  }
}
