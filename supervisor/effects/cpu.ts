/** CPU and memory of the workers, read from /proc by pidusage (no `ps` is started for it). */
import { readFile } from 'node:fs/promises'
import pidusage from 'pidusage'
import type { ProcessIdentity } from '../core/types.ts'
import { look } from './processIdentity.ts'

interface ProcessUsage {
  /** Per cent of one core since the previous sample of this process. */
  cpuPercent: number
  /** Resident set. */
  memoryBytes: number
  swapBytes: number
  /** CPU time since the process started. */
  cpuSeconds: number
}

/** CPU time used and time lived, both since the process started: two of them give the CPU use between them. */
interface Reading {
  cpuMs: number
  ageMs: number
}

/**
 * How long pidusage keeps /proc/<pid>/stat open after a sample. Short, because a file opened for a process that has died
 * would be read again for the next process of the same pid, and fail. (It keeps no timer that holds this process alive.)
 */
const KEEP_OPEN_MS = 1000

// Without it pidusage complains on stderr where there is no `getconf`, which it asks for the clock tick once; its default,
// 100 a second, is what Linux has everywhere.
process.env.PIDUSAGE_SILENT = '1'

let readings = new Map<number, Reading>()

interface Sample {
  /** By worker. A worker is absent when its process has ended or is hidden, and at its first sample: there is no interval yet. */
  readonly usage: ReadonlyMap<string, ProcessUsage>
  /** Workers whose processes the host hides. */
  readonly hidden: ReadonlySet<string>
}

/** Samples these processes, by worker. Never throws. What is not asked for any more is forgotten. */
export async function sampleWorkers(processes: ReadonlyMap<string, ProcessIdentity>): Promise<Sample> {
  const signs = new Map([...processes].map(([workerId, process]) => [workerId, look(process)]))
  // pidusage gives nothing at all if it may not read one of the processes. And another process may have the pid of an ended one.
  const visible = [...processes].filter(([workerId]) => signs.get(workerId) === 'same')
  const byPid = await samplePids(visible.map(([, { pid }]) => pid))
  const usage = visible.flatMap(([workerId, { pid }]) => {
    const found = byPid.get(pid)
    return found ? [[workerId, found] as const] : []
  })
  return {
    usage: new Map(usage),
    hidden: new Set([...signs].filter(([, sign]) => sign === 'hidden').map(([workerId]) => workerId)),
  }
}

async function samplePids(pids: readonly number[]): Promise<Map<number, ProcessUsage>> {
  const usage = new Map<number, ProcessUsage>()
  const next = new Map<number, Reading>()
  const statistics = pids.length === 0 ? {} : await pidusage([...pids], { maxage: KEEP_OPEN_MS }).catch(() => ({}))
  for (const [key, found] of Object.entries(statistics) as [string, pidusage.Status | null | undefined][]) {
    if (!found) continue
    const pid = Number(key)
    const reading = { cpuMs: found.ctime, ageMs: found.elapsed }
    const last = readings.get(pid)
    const lived = last && reading.ageMs - last.ageMs
    // A process that is younger than it was is another one that got the pid.
    if (last && lived !== undefined && lived > 0) {
      usage.set(pid, {
        cpuPercent: (100 * Math.max(0, reading.cpuMs - last.cpuMs)) / lived,
        memoryBytes: found.memory,
        swapBytes: await swapOf(pid),
        cpuSeconds: reading.cpuMs / 1000,
      })
    }
    next.set(pid, lived === 0 && last ? last : reading)
  }
  readings = next
  return usage
}

/** What of a process is in swap; pidusage does not tell. 0 when it has just ended. */
async function swapOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '')
  return 1024 * Number(/^VmSwap:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0)
}

/** Forgets all samples. */
export function forgetWorkers(): void {
  readings = new Map()
  pidusage.clear()
}
