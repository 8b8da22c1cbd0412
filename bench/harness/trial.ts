/** One trial: one subject with so many services, on a fresh control plane, through all its phases. */
import { setTimeout as delay } from 'node:timers/promises'
import { SHAPES, isWarmedUp, targetsOf } from './loads.ts'
import { readMachineTime, stolenShare } from './measure/machineTime.ts'
import type { MachineTime } from './measure/procfs.ts'
import { watchPeakRss } from './measure/peakRss.ts'
import { sampleTree } from './measure/processTree.ts'
import { measureWindow } from './measure/window.ts'
import type { LoadName, Start, Trial, Window } from './results.ts'
import { type Running, type Subject, type Surroundings, becomesQuiet } from './subjects/subject.ts'
import type { Client } from './world/client.ts'
import { type World, withWorld } from './world/world.ts'

/** How long everything may take and is measured for. */
export interface Durations {
  /** A subject that has not answered with all services by then is given up. */
  readonly startTimeoutMs: number
  /**
   * The network map counts as quiet when it has not changed for so long; waited for at most quietTimeoutMs, for a subject that
   * reports each change of the host's interfaces is never quiet.
   */
  readonly quietMs: number
  readonly quietTimeoutMs: number
  /** From the last request to the idle window, for a subject that becomes quiet. */
  readonly coolDownMs: number
  /** How long it is waited for after that, at most, until the nodes receive next to nothing. */
  readonly uplinkTimeoutMs: number
  /** Of a load that is warmed up, before its window. */
  readonly warmUpMs: number
  readonly windowMs: Readonly<Record<LoadName, number>>
}

export interface TrialPlan {
  readonly subject: Subject
  readonly services: number
  readonly repeat: number
  readonly loads: readonly LoadName[]
  readonly restart: boolean
}

export interface Bench extends World {
  readonly durations: Durations
  /** Takes a word on what happens now. */
  readonly progress: (phase: string) => void
  /** Aborted when the run is to end. */
  readonly signal: AbortSignal
}

/** Runs it. Never rejects for what the subject does: that is in `aborted`, beside the numbers until then. */
export async function runTrial(plan: TrialPlan, bench: Bench): Promise<Trial> {
  const begun = Date.now()
  const trial: Trial = {
    subject: plan.subject.info.key,
    services: plan.services,
    repeat: plan.repeat,
    loads: [...plan.loads],
    startedAt: new Date(begun).toISOString(),
    seconds: 0,
    aborted: null,
    stolenShare: null,
    start: null,
    restart: null,
    windows: {},
  }
  const before = readMachineTime()
  let phase = 'preparing'
  const enter = (next: string) => {
    bench.signal.throwIfAborted()
    phase = next
    bench.progress(next)
  }
  try {
    await withWorld(plan.services, { ...bench, https: plan.subject.https ?? false }, (surroundings, client) =>
      runPhases(plan, trial, surroundings, client, bench, enter),
    )
  } catch (error) {
    trial.aborted = `${phase}: ${error instanceof Error ? error.message : String(error)}`
  }
  trial.seconds = (Date.now() - begun) / 1000
  trial.stolenShare = stolenShare(before, readMachineTime())
  return trial
}

/** What a subject goes through, in order. Each result is in `trial` as soon as it is known. */
async function runPhases(
  { subject, loads, restart }: TrialPlan,
  trial: Trial,
  surroundings: Surroundings,
  client: Client,
  bench: Bench,
  enter: (phase: string) => void,
): Promise<void> {
  await withSubject(subject, surroundings, async (running, began) => {
    enter('starting')
    trial.start = await observeStart(running, began, surroundings.services, client, bench)
    for (const load of loads) {
      const becameQuiet = trial.start.quietSeconds !== null
      // What is never quiet looks for its public address at each change of the host's interfaces, and so has nothing to cool down from.
      if (load === 'idle' && (becomesQuiet(subject.info) || becameQuiet)) {
        enter('cooling down')
        const { coolDownMs, quietMs } = bench.durations
        const answeredAtMs = began.atMs + 1000 * trial.start.answeredSeconds
        await delay(Math.max(0, answeredAtMs + coolDownMs - quietMs - Date.now()), undefined, { signal: bench.signal })
        // A map that stood still by chance, as that of a peer which is overloaded, tells nothing of what is still to come.
        if (becomesQuiet(subject.info) && becameQuiet) await untilUplinkIsQuiet(surroundings.services.length, bench)
      }
      enter(load)
      trial.windows[load] = await observeLoad(load, running, surroundings.services, client, bench)
    }
    enter('stopping')
  })
  if (!restart) return
  enter('starting again')
  await withSubject(subject, surroundings, async (running, began) => {
    trial.restart = await observeStart(running, began, surroundings.services, client, bench)
  })
}

/**
 * Waits until control has nothing more to tell the nodes of each other: with hundreds of services that takes minutes after the
 * client's map has last changed, and is no part of being idle. What is measured when it never ends has the bytes beside it.
 */
async function untilUplinkIsQuiet(services: number, { host, durations, signal }: Bench): Promise<void> {
  const most = services * QUIET_BYTES_PER_SERVICE
  const deadline = Date.now() + durations.uplinkTimeoutMs
  for (let before = await host.uplinkBytes(); Date.now() < deadline; ) {
    await delay(durations.quietMs, undefined, { signal })
    const now = await host.uplinkBytes()
    if (now.receivedBytes - before.receivedBytes <= most) return
    before = now
  }
}

/** Received within `quietMs`; an idle node receives about 13 bytes a second. */
const QUIET_BYTES_PER_SERVICE = 500

/** The moment at which a subject was started. */
interface Began {
  readonly atMs: number
  readonly machine: MachineTime
}

/** The subject, for as long as `use` takes; it is given up when it ends by itself. */
async function withSubject(
  subject: Subject,
  surroundings: Surroundings,
  use: (running: Running, began: Began) => Promise<void>,
): Promise<void> {
  const began = { atMs: Date.now(), machine: readMachineTime() }
  const running = await subject.start(surroundings)
  const failed = running.failed.then((message) => {
    throw new Error(message)
  })
  try {
    await Promise.race([use(running, began), failed])
  } finally {
    await running.stop()
  }
}

async function observeStart(
  running: Running,
  began: Began,
  services: readonly string[],
  client: Client,
  { durations }: Bench,
): Promise<Start> {
  const peak = watchPeakRss(() => running.roots())
  try {
    const answered = new AbortController()
    const ready = running.untilReady(answered.signal)
    const answeredAtMs = await client.untilAllAnswer(services, durations.startTimeoutMs).finally(() => answered.abort())
    const readyAtMs = await ready
    const { quietMs, quietTimeoutMs } = durations
    const quietAtMs = await client.untilQuiet({ quietMs, sinceMs: answeredAtMs, timeoutMs: quietTimeoutMs })
    return {
      readySeconds: readyAtMs === null ? null : (Math.min(readyAtMs, answeredAtMs) - began.atMs) / 1000,
      answeredSeconds: (answeredAtMs - began.atMs) / 1000,
      quietSeconds: quietAtMs === null ? null : Math.max(0, quietAtMs - began.atMs) / 1000,
      cpuSeconds: sampleTree(running.roots()).cpuSeconds,
      stolenShare: stolenShare(began.machine, readMachineTime()),
      peakRssBytes: peak.stop(),
    }
  } finally {
    peak.stop()
  }
}

async function observeLoad(
  load: LoadName,
  running: Running,
  services: readonly string[],
  client: Client,
  { durations, host, signal }: Bench,
): Promise<Window> {
  const durationMs = durations.windowMs[load]
  const shape = SHAPES[load]
  const targets = targetsOf(load, services)
  if (shape !== null && isWarmedUp(load)) await client.load(targets, shape, durations.warmUpMs)
  const subject = { roots: () => Promise.resolve(running.roots()), goroutines: () => running.goroutines() }
  return measureWindow(
    subject,
    () => host.uplinkBytes(),
    async (begun) => {
      if (shape !== null) return client.load(targets, shape, durationMs, begun)
      await delay(durationMs, undefined, { signal })
      return null
    },
  )
}
