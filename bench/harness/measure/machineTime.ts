/** What the hypervisor of a virtual machine gave to others: what is measured meanwhile is dearer than it need be. */
import { readFileSync } from 'node:fs'
import { type MachineTime, parseMachineTime } from './procfs.ts'

export function readMachineTime(): MachineTime {
  return parseMachineTime(readFileSync('/proc/stat', 'utf8'))
}

/**
 * Of the time between two looks in which the machine had something to run, how much was stolen, from 0 to 1. Idle time does not
 * count: nothing can be stolen from it. null when nothing ran. Less than a second counts as one: the kernel tells hundredths,
 * and two of them in half a minute without work are no disturbance.
 */
export function stolenShare(before: MachineTime, after: MachineTime): number | null {
  const seconds = after.busySeconds - before.busySeconds
  return seconds > 0 ? (after.stolenSeconds - before.stolenSeconds) / Math.max(seconds, 1) : null
}
