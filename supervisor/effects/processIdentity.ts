/** Who a process is: its pid and its start time, within one boot. A pid alone may have been given to somebody else since. */
import { readFileSync } from 'node:fs'
import type { ProcessIdentity } from '../core/types.ts'

const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()

/** The identity of the process that has this pid now; null when there is none (or only a zombie, which runs nothing). */
export function identify(pid: number): ProcessIdentity | null {
  let stat: string
  try {
    stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
  } catch {
    return null
  }
  // The second field is the command in parentheses and may contain anything, so count from its end: see proc(5).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return null
  return { pid, startTicks: Number(fields[19]), bootId }
}

/** Whether that very process still runs. */
export function isAlive(process: ProcessIdentity): boolean {
  return process.bootId === bootId && identify(process.pid)?.startTicks === process.startTicks
}

/** SIGKILL for that very process; nothing when it has gone. */
export function killProcess(identity: ProcessIdentity): void {
  if (!isAlive(identity)) return
  try {
    process.kill(identity.pid, 'SIGKILL')
  } catch (error) {
    // It ended between the look and the signal.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
