import { readdirSync } from 'node:fs'
import { countGoroutines } from '../../harness/measure/goroutines.ts'
import { sampleMemory, sampleTree } from '../../harness/measure/processTree.ts'
import type { Operated } from '../../harness/operated.ts'
import type { Sample } from './results.ts'

/** Supervisor and workers at this moment. The workers are named by the supervisor: one that was adopted is nobody's child. */
export async function takeSample(operated: Operated, begunMs: number): Promise<Sample> {
  const { pid, shards } = await operated.status()
  const workers = shards.flatMap(({ workerPid }) => workerPid ?? [])
  const pids = [pid, ...workers]
  const tree = sampleTree(pids)
  const sockets = (await operated.workerSockets()).map((socketPath) => ({ socketPath }))
  return {
    atMinutes: (Date.now() - begunMs) / 60_000,
    pssBytes: sampleMemory(pids).pssBytes,
    // Of the supervisor alone: the workers that it has started are its children.
    supervisorRssBytes: tree.members.find((member) => member.pid === pid)?.rssBytes ?? 0,
    openFiles: pids.reduce((count, each) => count + readdirSync(`/proc/${each}/fd`).length, 0),
    goroutines: (await countGoroutines(sockets)) ?? 0,
    threads: tree.threads,
    workers: workers.length,
  }
}
