/** What the attacked worker uses: at one moment, and the logs that it writes over a stretch of time. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { countGoroutines } from '../../harness/measure/goroutines.ts'
import { sampleMemory } from '../../harness/measure/processTree.ts'
import { parseResident } from '../../harness/measure/procfs.ts'
import { readProc } from '../../harness/measure/readProc.ts'
import type { Worker } from './results.ts'

/** Between two looks at the logs: a file must not be written, rotated and removed in between. */
const LOOK_MS = 100

/** A worker of a supervisor. */
export interface WorkerProcess {
  readonly pid: number
  readonly socketPath: string
}

/** What a worker uses, as far as looking costs it nothing to speak of. Rejects when it has ended, or does not answer. */
export async function glance({ pid, socketPath }: WorkerProcess): Promise<Omit<Worker, 'pssBytes'>> {
  const goroutines = await countGoroutines([{ socketPath }])
  const status = readProc(pid, 'status')
  if (goroutines === null || status === undefined) throw new Error(`the worker (process ${pid}) has ended, or does not answer`)
  return { rssBytes: parseResident(status), openFiles: readdirSync(`/proc/${pid}/fd`).length, goroutines }
}

/** The whole of it. The kernel walks all pages of the process for it and holds it up meanwhile. */
export async function sampleWorker(worker: WorkerProcess): Promise<Worker> {
  return { ...(await glance(worker)), pssBytes: sampleMemory([worker.pid]).pssBytes }
}

export interface LogMeter {
  /** Ends it. Bytes that were written since it began, also to files that are gone by now. */
  stop(): number
}

/** Watches all files of a directory, which may be rotated. */
export function meterLogs(directory: string): LogMeter {
  const sizes = new Map<number, number>()
  const look = () => {
    for (const name of readdirSync(directory)) {
      const file = statSync(join(directory, name), { throwIfNoEntry: false })
      if (file?.isFile()) sizes.set(file.ino, Math.max(file.size, sizes.get(file.ino) ?? 0))
    }
  }
  const total = () => [...sizes.values()].reduce((sum, size) => sum + size, 0)
  look()
  const before = total()
  const timer = setInterval(look, LOOK_MS)
  return {
    stop() {
      clearInterval(timer)
      look()
      return total() - before
    },
  }
}
