import type { Traffic } from '../host/storageHost.ts'
import type { Requests, Window } from '../results.ts'
import { readMachineTime, stolenShare } from './machineTime.ts'
import { difference, sampleMemory, sampleTree } from './processTree.ts'

/** What is measured. */
export interface MeasuredSubject {
  /** Pids from which all its processes descend. Asked outside of the window: asking may cost the subject CPU. */
  roots(): Promise<readonly number[]>
  /** Of all its Go processes; null when it does not tell. Asked after the window. */
  goroutines(): Promise<number | null>
}

/**
 * Measures a subject while `during` runs, which resolves to what clients saw; it may call `begun` when its preparations are
 * over, and the window begins there. Memory and goroutines are those at the end,
 * taken after CPU, switches and bytes: looking at them costs CPU. Rejects when a root ended in the window: its CPU time is
 * lost, and what is left is not the subject.
 */
export async function measureWindow(
  subject: MeasuredSubject,
  uplinkBytes: () => Promise<Traffic>,
  during: (begun: () => void) => Promise<Requests | null>,
): Promise<Window> {
  const roots = await subject.roots()
  const trafficBefore = await uplinkBytes()
  const look = () => ({ tree: sampleTree(roots), machine: readMachineTime() })
  let begin = look()
  const requests = await during(() => {
    begin = look()
  })
  const end = look()
  const trafficAfter = await uplinkBytes()
  const [before, after] = [begin.tree, end.tree]
  const survivors = new Set(after.members.filter(({ zombie }) => !zombie).map(({ pid, startTicks }) => `${pid} ${startTicks}`))
  const lost = before.members.filter(({ pid, startTicks }) => roots.includes(pid) && !survivors.has(`${pid} ${startTicks}`))
  if (before.processes === 0 || lost.length > 0) {
    const names = lost.map(({ pid, command }) => `${command} (${pid})`)
    throw new Error(`the subject ended while it was measured: ${names.join(', ') || 'none of its processes was there'}`)
  }
  const memory = sampleMemory(roots)
  return {
    ...difference(before, after),
    stolenShare: stolenShare(begin.machine, end.machine),
    ...memory,
    processes: after.processes,
    threads: after.threads,
    goroutines: await subject.goroutines(),
    sentBytes: trafficAfter.sentBytes - trafficBefore.sentBytes,
    receivedBytes: trafficAfter.receivedBytes - trafficBefore.receivedBytes,
    requests,
  }
}
