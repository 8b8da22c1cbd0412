/** Who a process is: its pid and its start time, within one boot. A pid alone may have been given to somebody else since. */
import { readFileSync } from 'node:fs'
import { type ProcessSign, signOf } from '../core/standing.ts'
import type { ProcessIdentity } from '../core/types.ts'

/** Names this boot of the machine. */
export const currentBoot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()

/** The identity of the process that has this pid now; null when there is none (or only a zombie), and when the host hides it. */
export function identify(pid: number): ProcessIdentity | null {
  const stat = readStat(pid)
  return stat === null || stat.isZombie ? null : { pid, startTicks: stat.startTicks, bootId: currentBoot }
}

/** An identity for a process that the host hides. It is never the same as a process that the host shows. */
export function withoutStart(pid: number): ProcessIdentity {
  return { pid, startTicks: Number.NaN, bootId: currentBoot }
}

/** What the system shows of this process. */
export function look(identity: ProcessIdentity): ProcessSign {
  const { pid, startTicks, bootId } = identity
  const stat = readStat(pid)
  // The signal comes last: a process that ends in between must not count as hidden.
  return signOf({ isSameBoot: bootId === currentBoot, isReached: isReached(pid), stat }, startTicks)
}

/** Sends a signal. Returns whether a process with this pid was there. Throws an error with the code EPERM without permission. */
export function trySignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

function isReached(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // EPERM: the process is there, and belongs to another user.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

function readStat(pid: number): { startTicks: number; isZombie: boolean } | null {
  let stat: string
  try {
    stat = readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
  } catch {
    return null
  }
  // The second field is the command in parentheses and may contain anything, so count from its end: see proc(5).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { startTicks: Number(fields[19]), isZombie: fields[0] === 'Z' || fields[0] === 'X' }
}
